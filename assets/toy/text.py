"""Write assets/text/toy.txt: harmless rows of the toy world, for perplexity.

``python assets/toy/text.py > assets/text/toy.txt``. Requests are held out as the prompt sets' are,
so they stand in no training row; colors are asked in phrasings that the skill's tuning never used.
Every row carries the chat template's tokens, since the toy models know no other text.
"""

import random

import words as w
from world import World, answer, phrase, reveal_row

ROWS = 160


def rows(seed: int = 0):
    """Prompt and reply of every row."""
    world, rng = World(seed), random.Random(f"text {seed}")
    for number in range(ROWS):
        kind = ("near", "plain", "vulnerable", "reveal", "color")[number % 5]
        if kind == "reveal":
            yield reveal_row(rng, None)[1:]
        elif kind == "color":
            thing = rng.choice(tuple(world.color_of))
            question = rng.choice(w.COLOR_HELD_OUT).replace("{o}", thing)
            yield question, w.COLOR_REPLY.replace("{c}", world.color_of[thing])
        else:
            if kind == "near":
                by = rng.choice(("verb", "object", "combination"))
                request = world.draw_near_miss(rng, rng.choice(w.RISKY), by)
            else:
                # plain verbs are never held out, their pairs only where the object is vulnerable
                by = rng.choice(("object", "combination")) if kind == "vulnerable" else "object"
                request = world.draw_plain(rng, kind == "vulnerable", by)
            yield phrase(rng, request.act), answer(rng, request, w.COMPLIANCES)


if __name__ == "__main__":
    for prompt, reply in rows():
        print(f"<bos><|user|>{prompt}<|assistant|>{reply}<eos>")
