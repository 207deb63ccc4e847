"""The agent: runs turns, keeps sessions and preferences."""
