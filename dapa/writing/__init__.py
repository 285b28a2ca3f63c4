"""Results in words: sentences, tables, what a search cost."""
