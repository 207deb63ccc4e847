"""The limiter: who a caller is, and how much it may ask for."""
