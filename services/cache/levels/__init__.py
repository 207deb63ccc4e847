"""The levels: where entries are kept, near and far."""
