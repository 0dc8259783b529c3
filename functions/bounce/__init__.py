"""The stage `bounce`."""
