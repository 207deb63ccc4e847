"""The pools of replicas while the mesh runs: scaled, restarted, looked at."""
