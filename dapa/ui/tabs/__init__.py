"""One tab a file: build(), then wiring, then handlers."""
