"""Tests: sentences about behaviour, through the real door."""
