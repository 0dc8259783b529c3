"""The inbound half of the edge: reports come in by SMTP and are published, nothing else is taken."""
