"""What a difference does: units flipped, activations patched and traced, slopes in the mask."""
