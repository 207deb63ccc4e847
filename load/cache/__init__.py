"""Measures the cache: its parts alone, and what users see of it."""
