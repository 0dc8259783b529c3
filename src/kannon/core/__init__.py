"""Values and decisions. Nothing here does I/O, reads a clock or an environment, or is async."""
