"""Text: what in it is not prose, where it may be cut, and how Arabic is spelled."""
