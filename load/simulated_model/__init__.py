"""An OpenAI-compatible chat server that only pretends to be a model, for tests and benchmarks."""
