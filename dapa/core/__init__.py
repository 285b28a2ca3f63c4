"""Frozen records, errors, statistics: the ground that every room stands on."""
