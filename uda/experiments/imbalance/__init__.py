"""Long-tailed data, as an experiment."""
