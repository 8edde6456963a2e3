"""One file per heavy library or server that a stage works with."""
