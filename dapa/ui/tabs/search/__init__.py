"""Find a set of layers that refuses, watch it being found, look closer."""
