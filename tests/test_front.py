"""A shared beginning is read once: the map is the one that whole prompts give, in every family."""

import numpy as np
import pytest
from support import BASE
from test_divergence import rough

import dapa.localize.divergence.sweep as module
from dapa.core.records import Mask, PromptError, Unit
from dapa.localize.divergence.divergence import divergence
from dapa.localize.divergence.tokens import Encoded, front_length
from dapa.model.decode.front import Front
from dapa.prompts.format import PromptFormat

LONG = PromptFormat(system=" ".join(["how do I please tell me to explain can you show"] * 2))
PROMPTS = ["use malware", "how do I make bread at home step by step", "explain", "get poison now"]


@pytest.mark.parametrize("position", ["last", "instruction", 22])
@pytest.mark.parametrize("model_type", BASE)
def test_the_map_is_that_of_whole_prompts(model_type, position, monkeypatch):
    pair, *_ = rough(model_type)
    mask = Mask.of([Unit(1)])

    def swept():
        return divergence(
            pair, PROMPTS, LONG, "l2", "total", position, mask, harmless=PROMPTS[::-1], batch_size=3
        )

    made = []
    read = Front.cache
    monkeypatch.setattr(
        Front, "cache", lambda self, rows: made.append(self.length) or read(self, rows)
    )
    ours = swept()
    assert made and min(made) >= 20, "the system prompt has twenty words"
    made.clear()
    monkeypatch.setattr(module, "front_length", lambda prompts, position: 0)
    whole = swept()
    assert not made
    assert ours.sites == whole.sites and len(ours.sites) > 4
    np.testing.assert_allclose(ours.per_prompt, whole.per_prompt, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.contrast.values, whole.contrast.values, rtol=1e-4, atol=1e-5)


def test_a_beginning_ends_before_the_chosen_place_of_every_prompt():
    prompts = [Encoded((7, 7, 7, 7, 7, 1), 5), Encoded((7, 7, 7, 7, 7, 2, 3), 4)]
    assert front_length(prompts, "last") == 5
    assert front_length(prompts, "instruction") == 4
    assert front_length(prompts, 4) == 4
    assert front_length(prompts, 2) == 0, "too short to be worth a pass"
    assert front_length(prompts, -1) == 5
    assert front_length(prompts, "all") == front_length(prompts[:1], "last") == 0
    with pytest.raises(PromptError, match="token 6"):
        front_length(prompts, 6)
