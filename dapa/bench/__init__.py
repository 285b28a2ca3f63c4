"""The benchmark: every goal of the house as one row."""
