"""What must not be lost: runs, verdicts and replies, in SQLite."""
