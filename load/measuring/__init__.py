"""What measurements have in common: processes that are measured, generators of load, tables."""
