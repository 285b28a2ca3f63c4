"""Planted pairs: models in which refusal appears exactly under the masks we chose."""
