"""Limits for somebody else's Envoy, in the format of envoyproxy/ratelimit."""
