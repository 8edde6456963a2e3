"""`make bench`: what matters to a maintainer, each number beside that of a peer in the same run."""
