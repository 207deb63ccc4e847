"""Half an hour of everything at once, and whether memory and descriptors stay where they are."""
