"""The stage `send`."""
