"""A process that loads a pair, asks it, says `first` at the first text, and ends: for row r6."""

from __future__ import annotations

import sys


def main(name: str) -> int:
    """Load the preset `name` and answer; 0 once the first text was told."""
    from dapa.chat.conversation import Voice, converse
    from dapa.core.records import EMPTY
    from dapa.judges.base import judges
    from dapa.model.decode.sampling import Decoding
    from dapa.model.pair_loading import load_pair
    from dapa.model.presets import preset
    from dapa.prompts.format import PromptFormat, Turn

    pair = load_pair(preset(name).spec())
    voice = Voice(PromptFormat(), Decoding(8))
    turns = {"student": [Turn("user", "How is bread made?")]}
    for exchange in converse(pair, turns, EMPTY, judges["rules"](), voice):
        if any(pane.text.strip() for pane in exchange.panes):
            print("first", flush=True)
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
