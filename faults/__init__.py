"""Breaks a whole system on this machine, and checks that nothing is lost or doubled: `make faults`."""
