"""The gateway over HTTP/1.1: Connect, gRPC-Web and plain routes. Loaded once somebody speaks it."""
