"""The mesh's Envoy: its files, its admin port, its replacement."""
