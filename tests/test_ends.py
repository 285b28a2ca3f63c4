"""Embeddings and head: tied or not, of equal or different vocabularies, moved as rows of tokens."""

from copy import deepcopy

import pytest
import torch
from support import (
    BASE,
    EQUAL_GATE,
    LAYERS,
    TOKENIZER,
    generated,
    materialise,
    random_model,
    random_trio,
)

from dapa.core.records import EMPTY, OUTSIDE, Mask, SettingError, Site, Unit
from dapa.localize.causes.gradients import integrated_gradients
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.substitution import Substituted, changed, given_back
from dapa.model.transplant import masked
from dapa.model.vocabulary_rows import shared_rows
from dapa.planted.pairs import Planting, plant

IDS = torch.tensor([[9, 14, 23, 31, 8], [40, 41, 42, 12, 7], [33, 5, 6, 28, 19]])
EMBEDDINGS, HEAD = Unit(OUTSIDE, "embeddings"), Unit(OUTSIDE, "head")


def logits(pair, rows, ids=IDS):
    with torch.inference_mode(), masked(pair.plan(rows)):
        return pair.student(ids).logits


@pytest.fixture(scope="module", params=BASE)
def tied(request):
    return random_trio(request.param, tie_word_embeddings=True)


def test_a_tied_head_moves_with_the_embeddings_as_one_unit(tied):
    pair = tied.pair
    assert pair.tied and pair.units("embeddings") == (EMBEDDINGS,)
    with pytest.raises(SettingError, match="tied to the embeddings in both"):
        pair.units("head")
    assert HEAD not in pair.units("all")
    for mask in (Mask.of([EMBEDDINGS]), Mask.of([EMBEDDINGS], 0.3)):
        found = logits(pair, [mask, EMPTY, mask])
        wanted = tied.materialised(mask)
        assert wanted.lm_head.weight is wanted.model.embed_tokens.weight
        torch.testing.assert_close(found[0], wanted(IDS).logits[0], atol=2e-4, rtol=2e-4)
        assert torch.equal(found[1], logits(pair, [EMPTY] * 3)[1])
    everything = Mask.of(pair.units("all"))
    assert torch.equal(logits(pair, [everything] * 3), tied.teacher(IDS).logits)
    count = sum(p.numel() for p in pair.student.parameters())
    assert (
        pair.share(everything).parameters
        == count - pair.sites[Site(EQUAL_GATE, "gate")].weight.numel()
    )


def test_replies_of_a_tied_pair_equal_those_of_copied_weights(tied):
    masks = [EMPTY, Mask.of([EMBEDDINGS]), Mask(((EMBEDDINGS, 0.5), (Unit(1, "attention"), 1.0)))]
    rows = complete(tied.pair, [Row((9, 14, 23), mask) for mask in masks], Decoding(8))
    for row, mask in zip(rows, masks, strict=True):
        assert row.new_ids == generated(tied.materialised(mask), (9, 14, 23), 8)


def test_the_gradient_of_a_tied_pair_holds_both_places():
    pair = plant(Planting(2, (0,))).pair()
    assert not pair.tied
    trio = random_trio("llama", tie_word_embeddings=True, kinds=("embeddings",))
    found = integrated_gradients(trio.pair, [(9, 14, 23), (5, 6, 31)], [EMBEDDINGS], points=64)
    assert abs(found.whole.value) > 0.1 and found.error < 0.05


def test_substitutes_of_tied_embeddings_reach_the_head_too(tied):
    pair, mask = tied.pair, Mask.of([EMBEDDINGS])
    view = Substituted(pair, "student", changed(pair, mask, lambda s, n, own, w: own), "own")
    with torch.inference_mode(), view.applied():
        found = view.student(IDS).logits
    wanted = tied.materialised(mask)(IDS).logits
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)
    back = Substituted(pair, "teacher", given_back(pair, mask), "back")
    with torch.inference_mode(), back.applied():
        found = back.student(IDS).logits
    copy = materialise(deepcopy(tied.teacher), tied.student, mask, pair.family)
    torch.testing.assert_close(found, copy(IDS).logits, atol=2e-4, rtol=2e-4)


# -- different vocabularies ---------------------------------------------------------------------


def grown(model, by, seed=7):
    """A copy with more rows at the end of embeddings and head."""
    torch.manual_seed(seed)
    copy = deepcopy(model)
    copy.resize_token_embeddings(model.config.vocab_size + by, mean_resizing=False)
    return copy.requires_grad_(False)


def other_tokenizer(*added):
    tokenizer = deepcopy(TOKENIZER)
    tokenizer.add_tokens(list(added))
    return tokenizer


@pytest.mark.parametrize("larger", ["student", "teacher"])
@pytest.mark.parametrize("tie", [False, True])
def test_rows_outside_of_the_shared_vocabulary_stay_the_students(larger, tie):
    trio = random_trio("llama", tie_word_embeddings=tie)
    models = {"student": deepcopy(trio.student), "teacher": deepcopy(trio.teacher)}
    models[larger] = grown(models[larger], 4)
    tokenizers = dict.fromkeys(models, TOKENIZER)
    tokenizers[larger] = other_tokenizer("<one>", "<more>")
    kept = deepcopy(models["student"])
    spec = PairSpec("s", "t", "", "float32", "cpu")
    family = FAMILIES["llama"]
    pair = Pair(
        models["student"],
        models["teacher"],
        tokenizers["student"],
        tokenizers["teacher"],
        family,
        spec,
        f"{larger}{tie}",
    )
    mask = Mask.of([EMBEDDINGS] if tie else [EMBEDDINGS, HEAD])
    n = len(TOKENIZER)
    for ours, theirs in (
        (kept.get_input_embeddings(), trio.teacher.get_input_embeddings()),
        (kept.get_output_embeddings(), trio.teacher.get_output_embeddings()),
    ):
        ours.weight[:n].copy_(theirs.weight[:n])
    ids = IDS.clone()
    if larger == "student":
        ids[0, 2] = n + 1  # a token that the teacher does not know
    found = logits(pair, [mask] * 3, ids)
    assert torch.equal(found, kept(ids).logits)
    part = Mask.of([EMBEDDINGS], 0.5)
    assert torch.isfinite(logits(pair, [part, EMPTY, mask], ids)).all()
    if larger == "student":  # the student's table does not fit the teacher
        with pytest.raises(SettingError, match="vocabularies differ"):
            given_back(pair, mask)


def test_tokens_of_other_numbers_are_not_shared_and_renamed_ones_are():
    class Words:
        def __init__(self, **vocabulary):
            self.vocabulary = vocabulary

        def get_vocab(self):
            return self.vocabulary

    ours = Words(a=0, b=1, c=2, reserved=3)
    assert shared_rows(ours, Words(a=0, b=1, c=2, end=3), (4, 4)) is None
    assert shared_rows(ours, Words(a=0, c=1, b=2, end=3), (4, 4)).tolist() == [1, 0, 0, 1]
    assert shared_rows(ours, Words(a=0, b=1), (4, 2)).tolist() == [1, 1, 0, 0]
    assert shared_rows(ours, Words(a=0, b=1, c=2, reserved=5), (4, 6)).tolist() == [1, 1, 1, 0]


def test_check_tells_ties_and_the_rows_that_stay(tmp_path):
    places = []
    for role, seed, tie in (("a", 0, True), ("b", 1, True), ("c", 2, False)):
        random_model("llama", seed, tie_word_embeddings=tie).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
        places.append(str(tmp_path / role))
    a, b, c = (open_checkpoint(place) for place in places)
    both = {f.what: f for f in check(a, b).findings}
    assert "one unit, embeddings, moves both" in both["tied embeddings"].why
    assert "head" not in check(a, b).differs and "head" in check(a, c).differs
    one = {f.what: f for f in check(a, c).findings}
    assert one["tied embeddings"].level == "warns" and "two units" in one["tied embeddings"].why
    assert check(a, c).as_dict()["differs"]["head"] == [None]
    pair = load_pair(PairSpec(places[0], places[2], dtype="float32", device="cpu"))
    assert not pair.tied and pair.units("head") == (HEAD,)
    teacher = deepcopy(pair.teacher)
    found = logits(pair, [Mask.of(pair.units("all"))] * 3)
    assert torch.equal(found, teacher(IDS).logits)
    assert len(pair.units("layer")) == LAYERS
