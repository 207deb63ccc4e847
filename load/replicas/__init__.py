"""How throughput grows with the replicas."""
