"""The Knative eventing source: JetStream in, CloudEvents over HTTP out."""
