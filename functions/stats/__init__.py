"""The stage `stats`."""
