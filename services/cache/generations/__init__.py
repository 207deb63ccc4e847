"""Invalidation: generations, and the log of them that all cache processes share."""
