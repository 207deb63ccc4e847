"""Token buckets: shared in Redis, and each limiter's share of them while Redis cannot be used."""
