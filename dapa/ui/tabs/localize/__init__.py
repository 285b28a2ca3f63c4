"""Where the two models part, and why."""
