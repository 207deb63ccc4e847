"""Reserve, then settle: model tokens and places for calls that run at one time."""
