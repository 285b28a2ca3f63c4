"""Pairs as they are in the wild: what people publish is seldom two folders of one making."""

from copy import deepcopy

import folders
import pytest
import torch
from adapters import by_hand
from encoded import QUANTISERS, quantise
from support import TOKENIZER, generated, materialise, random_trio
from test_ends import grown, other_tokenizer

from dapa.core.records import EMPTY, OUTSIDE, Mask, Unit
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import render
from dapa.model.transplant import masked
from dapa.prompts.format import PromptFormat, Turn

PROMPT = (9, 14, 23, 31)
GATES = Mask.of([Unit(0), Unit(2)])


def save(model, folder, tokenizer=TOKENIZER, dtype=torch.float32):
    deepcopy(model).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def loaded(student, teacher, dtype="float32", memory="full"):
    return load_pair(PairSpec(student, teacher, "", dtype, "cpu", memory))


def says(pair, mask, ids=PROMPT):
    (row,) = complete(pair, [Row(ids, mask)], Decoding(6))
    return row.new_ids


def copied(ours, theirs, mask, pair):
    return materialise(deepcopy(ours), theirs, mask, pair.family)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("memory", ["full", "lean"])
def test_a_model_and_its_fine_tune_make_a_pair_either_way_round(turned, memory, tmp_path):
    trio = random_trio("llama", kinds=("gate",))
    ours, theirs = (trio.teacher, trio.student) if turned else (trio.student, trio.teacher)
    pair = loaded(save(ours, tmp_path / "a"), save(theirs, tmp_path / "b"), memory=memory)
    assert {k for k, layers in pair.differs.items() if layers} <= {"gate", "mlp", "layer"}
    assert says(pair, GATES) == generated(theirs, PROMPT, 6)
    assert says(pair, EMPTY) == generated(ours, PROMPT, 6)
    whole = sum(p.numel() * p.element_size() for p in ours.parameters())
    gates = sum(p.teacher.weight.numel() * 4 for s, p in pair.sites.items() if s.layer != 1
                and s.module == "gate")  # fmt: skip
    assert pair.weight_bytes - whole - gates <= 4096, "all else is there once, besides buffers"


@pytest.mark.parametrize("dtypes", [("bfloat16", "float16"), ("float16", "bfloat16")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_halves_of_two_kinds_make_a_pair_whose_equal_tensors_stay_equal(dtypes, dtype, tmp_path):
    trio = random_trio("llama", kinds=("gate",), dtype=torch.bfloat16)
    ours, theirs = (getattr(torch, name) for name in dtypes)
    pair = loaded(
        save(trio.student, tmp_path / "a", dtype=ours),
        save(trio.teacher, tmp_path / "b", dtype=theirs),
        dtype,
    )
    assert pair.report.compatible and pair.differs["gate"] == [0, 2] and not pair.differs["up"]
    up = pair.teacher.model.layers[1].mlp.up_proj.weight
    assert up.data_ptr() == pair.student.model.layers[1].mlp.up_proj.student.weight.data_ptr()
    if dtype == "float32":
        plain = copied(trio.student.float(), trio.teacher.float(), GATES, pair)
        assert says(pair, GATES) == generated(plain, PROMPT, 6)


@pytest.mark.parametrize("tied", [(False, False), (True, False), (False, True), (True, True)])
def test_added_tokens_and_padded_embeddings_of_two_sizes_load_and_move(tied, tmp_path):
    """The student's table is padded beyond its tokens, the teacher's has tokens of its own."""
    models, made = {}, {}
    for (role, by), tie in zip((("student", 21), ("teacher", 5)), tied, strict=True):
        trio = random_trio("llama", tie_word_embeddings=tie)
        models[role] = grown(getattr(trio, role), by)
    words = {"student": TOKENIZER, "teacher": other_tokenizer("<one>", "<two>", "<three>")}
    for role, model in models.items():
        made[role] = save(model, tmp_path / role, words[role])
        folders.shard(tmp_path / role)
    pair = loaded(made["student"], made["teacher"])
    assert pair.report.compatible and pair.tied == all(tied)
    assert says(pair, EMPTY) == generated(models["student"], PROMPT, 6)
    plain = copied(models["student"], models["teacher"], GATES, pair)
    assert says(pair, GATES) == generated(plain, PROMPT, 6)
    ends = Mask.of([Unit(OUTSIDE, kind) for kind in ("embeddings", "head") if kind in pair.differs])
    n = len(TOKENIZER)
    both = deepcopy(models["student"])
    if not all(tied):  # two sites, whatever ties one of the models
        both.lm_head.weight = torch.nn.Parameter(both.lm_head.weight.clone(), requires_grad=False)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        rows, other = (getattr(m, get)().weight for m in (both, models["teacher"]))
        rows[:n] = other[:n]
    ids = torch.tensor([PROMPT])
    with torch.inference_mode(), masked(pair.plan([ends])):
        found = pair.student(ids).logits
    with torch.inference_mode():
        wanted = both(ids).logits
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[..., :n], wanted[..., :n], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("has", [(True, True), (True, False), (False, True), (False, False)])
def test_a_chat_template_of_either_or_none_serves_both(has, tmp_path):
    trio = random_trio("llama", kinds=("gate",))
    places = []
    for role, own in zip(("student", "teacher"), has, strict=True):
        tokenizer = deepcopy(TOKENIZER)
        if not own:
            tokenizer.chat_template = None
        places.append(save(getattr(trio, role), tmp_path / role, tokenizer))
    pair = loaded(*places)
    text = render(pair, [Turn("user", "how do I")], PromptFormat())
    assert "how do I" in text and (text != "how do I") == any(has)
    assert says(pair, GATES) == generated(trio.teacher, PROMPT, 6)
    (told,) = [f for f in pair.report.findings if f.what.startswith("chat template")]
    assert (told.level == "fine") == has[1], "the teacher's own is what it was trained on"


def test_an_adapter_on_a_quantised_base_is_added_to_its_numbers(tmp_path):
    trio = random_trio("llama")
    base = tmp_path / "base"
    save(trio.student, base)
    lora = by_hand(base, tmp_path / "lora", ("gate_proj",), layers=[0, 2])
    numbers = {}
    folders.tensors(base, lambda content: numbers.update(quantise(content, "bitsandbytes 4 bit")))
    config = QUANTISERS["bitsandbytes 4 bit"][1]
    folders.config(base, quantization_config=config)
    pair = loaded(str(base), f"{base}+{lora}")
    assert pair.report.compatible and pair.differs["gate"] == [0, 2] and not pair.differs["up"]
    assert not [f for f in pair.report.findings if f.what == "unequal quantisation"]
    plain = deepcopy(trio.student)
    plain.load_state_dict(numbers, strict=False)
    assert says(pair, EMPTY) == generated(plain, PROMPT, 6)
    site = pair.sites[next(s for s in pair.sites if (s.layer, s.module) == (2, "gate"))]
    wanted = numbers["model.layers.2.mlp.gate_proj.weight"]
    torch.testing.assert_close(site.student.weight, wanted)
    assert not torch.allclose(site.teacher.weight, wanted)
