"""KL on harmless prompts: against copied weights, nothing for the student, apart at the start."""

from math import log
from threading import Event

import pytest
import torch
from searched import AND, HARMLESS, searched
from support import TOKENIZER, planted_models, random_trio

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Unit
from dapa.measure.steering import Steered
from dapa.measure.utility import Utility, _Shared
from dapa.model.substitution import Substituted
from dapa.prompts.format import PromptFormat
from dapa.search.engine.control import Halted

TEXTS = [prompt.text for prompt in HARMLESS]
RAW = PromptFormat(mode="raw")


def by_hand(student, other, prompt, reply):
    """Bits at each position of a reply, from two plain models and one prompt alone."""
    ids = torch.tensor([[*prompt, *reply[:-1]]])
    p, q = (m(ids).logits[0, len(prompt) - 1 :].float().log_softmax(-1) for m in (student, other))
    return (p.exp() * (p - q)).sum(-1) / log(2)


def test_it_is_the_kl_of_the_models_with_copied_weights(trio):
    utility = Utility(trio.pair, TEXTS[:3], RAW, max_new_tokens=6)
    mask = Mask.of([Unit(0), Unit(2, "down")])
    found = utility.drift(mask)
    bits = [
        by_hand(trio.student, trio.materialised(mask), prompt, reply)
        for prompt, reply in zip(utility.ids, utility.replies, strict=True)
    ]
    assert found.first.value == pytest.approx(sum(float(b[0]) for b in bits) / 3, abs=1e-4)
    behind = [float(b[1:].mean()) for b in bits if len(b) > 1]
    assert found.kl.value == pytest.approx(sum(behind) / len(behind), abs=1e-4)
    assert found.kl.n == len(behind) and found.kl.low <= found.kl.value <= found.kl.high
    assert utility(mask) == found.kl.value > 0


def test_the_student_is_no_bit_away_from_itself():
    found = Utility(searched().pair, TEXTS).drift(EMPTY)
    assert found.kl.value == found.first.value == found.dropped == 0.0


def test_refusing_harmless_prompts_shows_at_the_first_position():
    pair = planted_models("llama").pair()
    utility = Utility(pair, TEXTS)
    head = pair.student.get_output_embeddings().weight
    shove = torch.zeros(head.shape[1])
    shove[3] = 4.0  # the sum that the head reads as refusal
    found = utility.drift(EMPTY, Steered(pair, pair.n_layers - 1, shove))
    assert found.first.value > 1.0


def test_what_was_measured_is_not_measured_again(monkeypatch):
    utility = Utility(searched().pair, TEXTS)
    first = utility.drift(Mask.of(AND.units))
    monkeypatch.setattr(utility, "_log_probs", None)
    assert utility.drift(Mask.of(AND.units)) is first


def test_a_teacher_of_the_same_vocabulary_is_read_whole():
    pair = searched().pair
    found = Utility(pair, TEXTS).drift(EMPTY, Substituted(pair, "teacher", {}, "whole"))
    assert found.dropped == 0.0 and found.kl.value < 0.5


def test_different_vocabularies_are_read_over_what_they_share():
    shared = _Shared({"a": 0, "b": 1, "c": 2}, {"b": 0, "a": 1, "d": 2}, torch.device("cpu"))
    p, q = (torch.tensor([row]).log() for row in ([0.5, 0.3, 0.2], [0.6, 0.2, 0.2]))
    ours, theirs, lost = shared.restricted(p, q)
    assert ours.exp()[0].tolist() == pytest.approx([0.625, 0.375])
    assert theirs.exp()[0].tolist() == pytest.approx([0.25, 0.75])
    assert lost.item() == pytest.approx(0.2) and shared.translated([1, 0]) == (0, 1)
    with pytest.raises(PromptError, match="vocabulary"):
        shared.translated([2])


def test_one_prompt_has_no_interval_and_its_json_says_null():
    body = Utility(searched().pair, TEXTS[:1]).drift(EMPTY).as_dict()
    assert body["kl"] == {"value": 0.0, "low": None, "high": None, "n": 1}


def test_the_size_of_blocks_does_not_matter(monkeypatch):
    pair, mask = random_trio("llama").pair, Mask.of([Unit(0)])
    whole = Utility(pair, TEXTS, RAW).drift(mask)
    monkeypatch.setattr("dapa.measure.utility.row_capacity", lambda pair, rows=None: 3)
    assert Utility(pair, TEXTS, RAW).drift(mask).kl.value == pytest.approx(whole.kl.value, rel=1e-3)


def test_what_cannot_be_measured_is_refused():
    pair = searched().pair
    with pytest.raises(PromptError, match="harmless"):
        Utility(pair, [])
    with pytest.raises(SettingError, match="does not exist"):
        Utility(pair, TEXTS).drift(Mask.of([Unit(99)]))
    stop = Event()
    stop.set()
    with pytest.raises(Halted):
        Utility(pair, TEXTS, stop=stop).drift(Mask.of(AND.units))
    assert TOKENIZER.pad_token_id is not None
