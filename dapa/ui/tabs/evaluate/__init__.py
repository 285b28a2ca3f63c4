"""Prompt sets through three models into one table."""
