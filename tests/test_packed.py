"""Weights laid out for the CPU: the same to the bit, and left alone wherever that is not sure."""

from copy import deepcopy

import pytest
import torch
from support import TOKENIZER, random_model
from torch import nn

import dapa.model.packed as packed
from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.architectures import family_of
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.packed import PackedLinear, pack
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec

HALF = torch.bfloat16

AMPLE = 2**40


def linear(outputs=48, inputs=32, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias, dtype=HALF).requires_grad_(False)


def layouts(model):
    return [part for part in model.modules() if isinstance(part, PackedLinear)]


@pytest.fixture
def laid_out():
    part = linear()
    if not pack([part], AMPLE):
        pytest.fail("torch 2.11 and later lay bfloat16 out on a CPU with oneDNN")
    return part


@pytest.mark.parametrize("rows", [(1,), (2, 1), (3, 7), (64,), (130,), (0,)])
@pytest.mark.parametrize("size", [(48, 32), (577, 65), (1, 16), (1536, 576)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_the_plain_one_to_the_bit(rows, size, bias):
    plain = linear(*size, bias)
    part = deepcopy(plain)
    pack([part], AMPLE)
    x = torch.randn(*rows, size[1]).to(HALF)
    with torch.inference_mode():
        assert torch.equal(part(x), plain(x))


def test_rows_that_do_not_lie_together_are_multiplied_alike(laid_out):
    plain, x = linear(), torch.randn(6, 5, 64).to(HALF)
    with torch.inference_mode():
        for view in (x[:, -1, :32], x[::2, 1, ::2], x[..., 32:].transpose(0, 1)):
            assert torch.equal(laid_out(view), plain(view))


def test_gradients_pass_through_the_plain_weight(laid_out):
    x = torch.randn(3, 32).to(HALF).requires_grad_()
    laid_out(x).sum().backward()
    assert torch.allclose(x.grad[0].float(), linear().weight.float().sum(0), atol=0.05)


def test_a_weight_that_was_changed_is_believed_and_not_the_layout(laid_out):
    x = torch.randn(3, 32).to(HALF)
    laid_out.weight.mul_(2)
    with torch.inference_mode():
        assert torch.equal(laid_out(x), nn.functional.linear(x, laid_out.weight, laid_out.bias))
    laid_out.weight = nn.Parameter(torch.zeros_like(laid_out.weight), requires_grad=False)
    with torch.inference_mode():
        assert torch.equal(laid_out(x), laid_out.bias.expand(3, -1))


def test_a_copy_has_the_plain_weight_alone(laid_out):
    copy = deepcopy(laid_out)
    copy.weight.data.zero_()  # past the version counter
    with torch.inference_mode():
        assert torch.equal(copy(torch.ones(1, 32, dtype=HALF))[0], copy.bias)


def test_one_storage_is_laid_out_once():
    model = nn.Sequential(linear(), linear())
    model[1].weight = model[0].weight
    assert pack([model, model], AMPLE) == model[0].weight.nbytes
    assert len(layouts(model)) == 2


@pytest.mark.parametrize("why", ["float32", "no memory", "no operator", "another result"])
def test_where_it_is_not_sure_nothing_is_changed(why, monkeypatch):
    part = linear().float() if why == "float32" else linear()
    if why == "no operator":
        monkeypatch.setattr(packed, "_OPERATORS", ("_linear_of_the_future",))
    if why == "another result":
        monkeypatch.setattr(packed, "_product", lambda x, w, b: torch.ones(x.shape[0], 1, 48))
    spare = 3 * part.weight.nbytes if why == "no memory" else AMPLE
    assert pack([part], spare) == 0 and type(part) is nn.Linear


def test_a_pair_answers_the_same_with_and_without():
    replies = []
    for laid in (False, True):
        student, teacher = (random_model("llama", seed, HALF) for seed in (0, 1))
        family = family_of("llama", student.config)
        spec = PairSpec("one", "other", "", "bfloat16", "cpu")
        pair = Pair(student, teacher, TOKENIZER, TOKENIZER, family, spec, "of a test")
        if laid:
            plain = pair.weight_bytes
            made = pack([pair.student, pair.teacher], AMPLE)
            assert layouts(pair.student) and pair.weight_bytes == plain + made
        masks = [EMPTY, Mask.of([Unit(0), Unit(2, "mlp")]), pair.teacher_mask]
        rows = [Row((9, 14, 23), mask) for mask in masks] + [Row((8, 40, 31, 6), masks[1])]
        replies.append([row.new_ids for row in complete(pair, rows, Decoding(16))])
    assert replies[0] == replies[1]


@pytest.mark.parametrize(("memory", "laid"), [("full", True), ("lean:gate", False)])
def test_a_pair_is_laid_out_where_nobody_asked_for_less_memory(planted_folders, memory, laid):
    pair = load_pair(PairSpec(*map(str, planted_folders), "", "bfloat16", "cpu", memory))
    assert bool(layouts(pair.student)) is laid
    assert (pair.memory.laid_out > 0) is laid
    assert ("in the CPU's own order" in pair.memory.sentence) is laid
    with torch.inference_mode():
        pair.student(input_ids=torch.tensor([[1, 2, 3]]))
