"""gRPC over HTTP/1.1, between Envoy and our own processes; see docs/adr/0017."""
