"""`shoal certs`: a local authority and what it signs."""
