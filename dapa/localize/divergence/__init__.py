"""How far two models are apart: metrics, the sweep over prompts, the maps."""
