"""Envoy's bootstrap configuration, rendered from one table of ports and pools."""
