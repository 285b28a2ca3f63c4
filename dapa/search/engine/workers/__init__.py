"""Other processes and machines that hold the pair too, and decode a search's rows."""
