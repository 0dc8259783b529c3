"""Requests to send that come as events: CloudEvents over HTTP, and over NATS."""
