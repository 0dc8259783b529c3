"""Measures this system on this machine: `make bench`."""
