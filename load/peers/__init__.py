"""Shoal beside what a user would take instead: the same box, the same mock behind each, in one run."""
