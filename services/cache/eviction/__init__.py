"""Which entries of a full memory level make room."""
