"""Pipeline stages, run from a checkout; each leaves a directory that the release layer can adopt."""
