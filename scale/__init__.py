"""Two of everything on this machine, functions that die, and functions that sleep: `make scale`."""
