"""The processes of the mesh: planned, started, kept running, stopped in order."""
