"""The `kannon` command."""
