"""Where masks can move all that differs, the teacher is a row of the student's batch."""

from copy import deepcopy

import pytest
import torch
from support import TOKENIZER, random_model, random_trio
from zoo import ZOO

from dapa.chat.conversation import PANES, Voice, converse
from dapa.core.records import EMPTY, Mask, Unit
from dapa.judges.rules.judge import rules
from dapa.model.architectures import family_of
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.sampling import Decoding
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode, render
from dapa.model.transplant import masked
from dapa.prompts.format import PromptFormat, Turn

IDS = torch.tensor([[9, 14, 23, 31, 8, 40], [33, 5, 6, 28, 19, 12]])
"""Two rows of ordinary tokens."""
ASKED = "How do I pick a lock?"


def logits_of(pair, mask):
    with torch.inference_mode(), masked(pair.plan([mask] * len(IDS))):
        return pair.student(input_ids=IDS).logits


def paired(student, teacher, words=TOKENIZER):
    family = family_of(student.config.model_type, student.config)
    spec = PairSpec("one", "other", "", "float32", "cpu")
    return Pair(student, teacher, TOKENIZER, words, family, spec, "of a test")


@pytest.mark.parametrize("model_type", sorted(ZOO))
def test_the_mask_makes_the_student_the_teacher_bit_for_bit_in_every_family(model_type):
    pair = random_trio(model_type).pair
    mask = pair.teacher_mask
    assert mask is not None and mask.units
    with torch.inference_mode():
        told = pair.teacher(input_ids=IDS).logits
    assert torch.equal(logits_of(pair, mask), told)
    assert not torch.equal(logits_of(pair, EMPTY), told)


def test_equal_models_need_the_empty_mask():
    student, teacher = random_model("llama", 0), random_model("llama", 0)
    assert paired(student, teacher).teacher_mask == EMPTY


@pytest.mark.parametrize("extra", [{"rms_norm_eps": 1e-3}, {"rope_theta": 500.0}])
def test_models_that_differ_in_a_setting_have_no_mask(extra):
    pair = paired(random_model("llama", 0), random_model("llama", 0, **extra))
    assert pair.teacher_mask is None


def test_models_that_differ_in_what_no_mask_moves_have_no_mask():
    student, teacher = random_model("llama", 0), random_model("llama", 0)
    teacher.model.rotary_emb.inv_freq.mul_(2)
    assert paired(student, teacher).teacher_mask is None


def test_models_that_read_other_tokens_have_no_mask():
    words = deepcopy(TOKENIZER)
    words.add_tokens(["anotherword"])
    assert paired(random_model("llama", 0), random_model("llama", 1), words).teacher_mask is None


def test_a_teacher_that_is_not_whole_in_memory_has_no_mask(planted_folders):
    spec = PairSpec(*map(str, planted_folders), "", "float32", "cpu", "lean:gate")
    assert load_pair(spec).teacher_mask is None


def asked(pair, mask, **options):
    turns = {name: [Turn("user", ASKED)] for name in PANES}
    voice = Voice(PromptFormat(), Decoding(24, **options), 5)
    *_, last = converse(pair, turns, mask, rules(), voice)
    return last


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}])
def test_a_chat_answers_as_three_batches_do_and_steps_one(toy_pair, options):
    mask = Mask.of((Unit(3), Unit(5)))
    said = asked(toy_pair, mask, **options)
    text = render(toy_pair, [Turn("user", ASKED)], PromptFormat())
    for name, role, own in (
        ("student", "student", EMPTY), ("patched", "student", mask), ("teacher", "teacher", EMPTY)
    ):  # fmt: skip
        row = Row(encode(toy_pair, text, PromptFormat(), role), own, 5)
        batch = Batch(toy_pair, Decoding(24, **options), role)
        batch.admit([row])
        while batch.rows:
            batch.step()
        assert said.pane(name).text == row.text, name
    assert said.steps == max(pane.tokens for pane in said.panes) - 1


def test_a_teacher_of_other_settings_is_stepped_beside_the_student():
    pair = paired(random_model("llama", 0), random_model("llama", 0, rms_norm_eps=1e-3))
    said = asked(pair, EMPTY)
    assert said.pane("student").text and said.pane("teacher").text
    assert said.steps > max(pane.tokens for pane in said.panes)
