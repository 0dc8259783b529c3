"""NATS JetStream: the streams, and who publishes to and pulls from them."""
