"""The limiter under load: its speed, its exactness over a fleet and through an outage, and what it leaves in Redis."""
