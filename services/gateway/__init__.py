"""The gateway: REST and SSE in front, gRPC behind."""
