"""How rows of different masks are decoded together: prefill, keys and values, choice of tokens."""
