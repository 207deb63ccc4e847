"""`shoal cache`: what an operator does with kept answers."""
