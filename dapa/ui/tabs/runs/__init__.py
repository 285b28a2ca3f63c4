"""What was searched and measured before."""
