"""Benchmark and planted pairs; the tests import planted pairs from here."""
