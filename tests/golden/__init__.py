"""What users read, kept as files."""
