"""The small real family that `make demo` releases on an embedded Hub."""
