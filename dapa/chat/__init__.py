"""Conversations with student, patched and teacher, and what people say of them."""
