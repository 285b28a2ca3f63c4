"""Where student and teacher differ, and which difference matters."""
