"""Questions of one message each way, in gRPC's framing over HTTP/1.1."""
