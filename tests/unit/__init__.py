"""One part at a time, on real files."""
