"""Shams are as large and in the same place; they reach nobody else and have no effect."""

import json
import threading
from copy import deepcopy

import pytest
import torch
from searched import AND, HARMLESS, searched
from support import materialise, planted_models

from dapa.core.records import EMPTY, Mask, PairError, SettingError, Site, Unit
from dapa.measure.placebos import placebos, shams
from dapa.model.decode.generation import Row, complete
from dapa.model.families import submodule
from dapa.model.strengths import resolve
from dapa.model.substitution import Substituted, changed, given_back
from dapa.planted.pairs import harmful_prompts

MASKS = [
    Mask.of([Unit(1), Unit(4)]),
    Mask(((Unit(1, "gate", (3, 20)), 1.0), (Unit(2), 0.5))),
    Mask.of([Unit(0, "gate", (0, 8)), Unit(0, "gate", (8, 32))]),
]


@pytest.fixture(scope="module")
def table():
    return placebos(searched(), HARMLESS)


def logits(view, plan, ids):
    from dapa.model.transplant import masked

    with torch.inference_mode(), masked(plan):
        return view.student(input_ids=torch.tensor([ids])).logits


def ids_of(pair):
    return pair.tokenizer(harmful_prompts(1)[0])["input_ids"]


def test_shams_have_no_effect_where_the_found_set_has(table):
    assert table.complete and not table.effects
    found, student = table.rows[1], table.rows[0]
    assert found.held_out.value == 1.0 and student.held_out.value == 0.0
    for row in table.rows[2:]:
        assert row.role == "placebo" and row.search.value == row.held_out.value == 0.0
        assert row.gain.low < 0 < row.gain.high and row.p_value < 0.05
    names = {row.name for row in table.rows[2:]}
    assert names == {"permuted-1", "permuted-2", "permuted-3", "other-layer", "flipped"}
    json.dumps(table.as_dict(), allow_nan=False)


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_a_sham_of_the_real_difference_is_the_transplant(mask):
    """The positive control: the machinery does take hold."""
    job = searched()
    pair, models = job.pair, planted_models("llama", AND)
    view = Substituted(pair, "student", changed(pair, mask, lambda s, n, own, w: own), "real")
    copy = materialise(deepcopy(models.student), models.teacher, mask, pair.family)
    ids = ids_of(pair)
    with torch.inference_mode(), view.applied():
        ours = logits(view, None, ids)
    with torch.inference_mode():
        theirs = copy(input_ids=torch.tensor([ids])).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_given_back_is_the_teacher_with_the_students_weights(mask):
    pair, models = searched().pair, planted_models("llama", AND)
    view = Substituted(pair, "teacher", given_back(pair, mask), "back")
    copy = materialise(deepcopy(models.teacher), models.student, mask, pair.family)
    ids = ids_of(pair)
    with torch.inference_mode(), view.applied():
        ours = logits(view, None, ids)
    with torch.inference_mode():
        theirs = copy(input_ids=torch.tensor([ids])).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_shams_are_of_equal_norm_and_stay_inside_their_block():
    pair = searched().pair
    mask = Mask.of([Unit(1, "gate", (3, 20)), Unit(4)])
    for name in ("permuted", "other-layer", "flipped"):
        seen = []

        def change(site, parameter, own, where, name=name, seen=seen):
            other = dict(pair.sites[Site(0, "gate")].teacher.named_parameters())[parameter]
            less = dict(pair.sites[Site(0, "gate")].student.named_parameters())[parameter]
            material = (other - less)[where]
            sham = shams[name].make(own, material, torch.Generator().manual_seed(0))
            assert sham.shape == own.shape and not torch.equal(sham, own)
            assert float(sham.norm()) == pytest.approx(float(own.norm()), rel=1e-4)
            seen.append(site)
            return sham

        made = changed(pair, mask, change)
        assert set(seen) == set(made) == set(resolve(mask))
        block, ours = made[Site(1, "gate")].weight, pair.sites[Site(1, "gate")].student.weight
        assert torch.equal(block[:3], ours[:3]) and torch.equal(block[20:], ours[20:])
        assert not torch.equal(block[3:20], ours[3:20])


def test_nobody_else_sees_a_sham():
    pair = searched().pair
    before = [p.clone() for p in pair.student.parameters()]
    mask = Mask.of([Unit(1), Unit(4)])
    view = Substituted(pair, "student", changed(pair, mask, lambda s, n, own, w: own), "real")
    ids = tuple(ids_of(pair))

    def reply(of, mask=EMPTY):
        return complete(of, [Row(ids, mask, max_new_tokens=8)])[0].new_ids

    plain, patched, elsewhere = reply(pair), reply(pair, mask), []
    assert plain != patched
    with view.applied():
        thread = threading.Thread(target=lambda: elsewhere.append(reply(pair)))
        thread.start()
        thread.join()
        assert reply(view) == patched
    assert elsewhere == [plain] and reply(pair) == plain
    assert all(map(torch.equal, before, pair.student.parameters()))
    assert view.digest != pair.digest


def test_a_benign_donor_is_read_from_its_checkpoint(tmp_path):
    job = searched()
    models = planted_models("llama", AND)
    donor = deepcopy(models.student)
    for block in submodule(donor, models.family.layers):
        block.mlp.up_proj.weight.mul_(1.1)
    donor.save_pretrained(tmp_path)
    models.tokenizer.save_pretrained(tmp_path)
    rows = placebos(job, draws=1, donor=str(tmp_path)).rows
    assert rows[-1].name == "donor" and rows[-1].held_out.value == 0.0
    models.teacher.save_pretrained(tmp_path)
    rows = placebos(job, draws=1, donor=str(tmp_path)).rows
    assert rows[-1].held_out.value == 1.0, "a donor that refuses is an effect, and shown"
    other = planted_models("qwen2")
    other.student.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(PairError, match="architecture"):
        placebos(job, draws=1, donor=str(tmp_path / "other"))


def test_nothing_to_stand_in_for_is_an_error():
    with pytest.raises(SettingError, match="empty mask"):
        placebos(searched(), mask=EMPTY)
    with pytest.raises(SettingError, match="1 or more"):
        placebos(searched(), draws=0)


def test_stopping_keeps_what_is_measured():
    stop = threading.Event()
    count = []

    def progress(title, share):
        count.append(title)
        if len(count) == 3:
            stop.set()

    some = placebos(searched(), mask=Mask.of([Unit(0)]), progress=progress, stop=stop)
    assert not some.complete and len(some.rows) <= 3
