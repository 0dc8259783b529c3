"""The gateway: takes mail over gRPC, stores it, and announces it to verify."""
