"""Simulates policies of eviction on traces of requests, and measures what they cost."""
