"""One prompt to student, patched and teacher side by side."""
