"""Servers that may be out: who is left alone for a while, and what is said of it."""
