"""Readers of payload formats: what a directory of files says of itself, computed and never typed."""
