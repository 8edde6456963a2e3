"""Manifests of every schema version, frozen."""
