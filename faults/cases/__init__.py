"""The faults, each provoked on a running system."""
