"""`shoal cache warm`: fills the cache from a file of tasks, through the front door."""
