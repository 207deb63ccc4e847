"""`shoal keys`: API keys and tenants."""
