"""Refusal directions and projections against plain states, numpy, scipy and planted truth."""

import threading

import numpy as np
import pytest
import torch
from plainly import outputs
from scipy import stats
from support import BASE, materialise, planted_models
from test_divergence import HOW, rough

from dapa.core.records import EMPTY, DapaError, Mask, PromptError, SettingError, Unit
from dapa.localize import standing as module
from dapa.localize.directions import _halves, refusal_directions
from dapa.localize.divergence.tokens import encoded
from dapa.localize.projection import project
from dapa.localize.standing import standing
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts

BAD, GOOD = harmful_prompts(6, seed=3), harmless_prompts(6, seed=3)
MASK = Mask.of([Unit(0), Unit(2)])


def plain_states(model_type, prompts):
    """Pane -> (prompts, layers, d) from unwrapped, really copied models, one prompt at a time."""
    from copy import deepcopy

    pair, student, teacher = rough(model_type)
    patched = materialise(deepcopy(student), teacher, MASK, pair.family)
    found = {}
    for name, model in (("student", student), ("patched", patched), ("teacher", teacher)):
        rows = []
        for prompt in prompts:
            seen = outputs(pair, model, encoded(pair, prompt, HOW).ids)
            rows.append(np.stack([seen[i, "residual"][-1].double().numpy() for i in range(3)]))
        found[name] = np.array(rows)
    return found


@pytest.mark.parametrize("model_type", BASE)
def test_states_coordinates_and_separation_agree_with_plain_copies(model_type):
    pair, *_ = rough(model_type)
    batches = list(standing(pair, BAD, HOW, MASK, batch_size=4))
    bad, good = plain_states(model_type, BAD), plain_states(model_type, GOOD)
    for pane in ("student", "patched", "teacher"):
        ours = torch.cat([states[pane] for states in batches]).numpy()
        assert np.allclose(ours, bad[pane], rtol=1e-3, atol=1e-4)
    found = refusal_directions(pair, BAD, GOOD, HOW, MASK, seed=1, batch_size=2)
    fit, test = _halves(6, 1)
    assert not set(fit) & set(test) and found.n_fit == found.n == (3, 3)
    for i in range(3):
        zero, one = (side["teacher"][fit, i].mean(0) for side in (good, bad))
        r = one - zero
        for pane in found.panes:
            for kind, side in (("harmful", bad), ("harmless", good)):
                wanted = (side[pane][test, i] - zero) @ r / (r @ r)
                along = found.along[pane][kind]
                assert along.per_prompt[:, i] == pytest.approx(wanted, rel=1e-2, abs=1e-3)
                assert along.values[i] == pytest.approx(wanted.mean(), rel=1e-2, abs=1e-3)
            sides = [found.along[pane][k].per_prompt[:, i] for k in ("harmful", "harmless")]
            u = stats.mannwhitneyu(*sides).statistic
            assert found.separation[pane][i].value == pytest.approx(u / 9)
            own = bad[pane][fit, i].mean(0) - good[pane][fit, i].mean(0)
            cosine = own @ r / np.linalg.norm(own) / np.linalg.norm(r)
            assert found.cosine[pane][i] == pytest.approx(cosine, abs=1e-3)
    assert found.cosine["teacher"] == pytest.approx(np.ones(3))


@pytest.mark.parametrize("model_type", BASE)
def test_components_agree_with_numpy_and_hold_the_states_distances(model_type):
    pair, *_ = rough(model_type)
    found = project(pair, BAD, GOOD, HOW, MASK, batch_size=4)
    states = plain_states(model_type, BAD + GOOD)
    for i in range(3):
        both = np.concatenate([states["student"][:, i], states["teacher"][:, i]])
        u, s, _ = np.linalg.svd(both - both.mean(0), full_matrices=False)
        assert found.explained[i] == pytest.approx((s**2 / (s**2).sum())[:2], rel=1e-3)
        mine = np.concatenate([found.points[0, i], found.points[2, i]])
        for k in range(2):
            wanted = u[:, k] * s[k]
            sign = np.sign(wanted @ mine[:, k])
            assert np.allclose(mine[:, k], sign * wanted, rtol=1e-2, atol=1e-2 * s[0])
        axes = np.linalg.lstsq(both - both.mean(0), mine, rcond=None)[0]
        patched = (states["patched"][:, i] - both.mean(0)) @ axes
        assert np.allclose(found.points[1, i], patched, rtol=5e-2, atol=5e-2 * s[0])


def test_the_planted_flag_moves_the_teacher_and_the_patched_model_alone():
    planting = Planting(5, (1, 2), distractors=(3,))
    pair = planted_models("llama", planting).pair()
    bad, good = harmful_prompts(16), harmless_prompts(16)
    found = refusal_directions(pair, bad, good, HOW, Mask.of(planting.units))
    last = {pane: found.along[pane]["harmful"].values[-1] for pane in found.panes}
    assert last["teacher"] == pytest.approx(1, abs=0.05) and last["patched"] > 0.95
    assert last["student"] < 0.9 < found.along["student"]["harmful"].values[0]
    assert all(rate.value == 1 and rate.low > 0.6 for rate in found.separation["teacher"])
    rows = found.behind("teacher", 4)
    assert [kind for kind, *_ in rows] == ["harmful"] * 8 + ["harmless"] * 8


def test_without_a_mask_there_is_no_patched_pane(planted_pair):
    found = refusal_directions(planted_pair, BAD, GOOD, HOW)
    assert found.panes == ("student", "teacher") and found.mask == ""
    headers, rows = found.table()
    assert len(rows) == 8 and all(len(row) == len(headers) for row in rows)
    body = found.as_dict()
    assert set(body["panes"]) == {"student", "teacher"} and len(body["size"]) == 4
    plane = project(planted_pair, BAD, GOOD, HOW)
    assert plane.points.shape == (2, 4, 12, 2)
    headers, rows = plane.table()
    assert len(rows) == 2 * 4 * 12 and all(len(row) == len(headers) for row in rows)


def test_the_first_axis_points_to_the_teachers_harmful_side(planted_pair):
    plane = project(planted_pair, BAD, GOOD, HOW)
    teacher, bad = plane.points[1], np.array(plane.classes) == "harmful"
    assert (teacher[:, bad, 0].mean(1) >= teacher[:, ~bad, 0].mean(1) - 1e-9).all()
    assert np.allclose(plane.points[:, :, :, 0].reshape(2, 4, 12).transpose(1, 0, 2)
                       .reshape(4, -1).mean(1), 0, atol=1e-4)  # fmt: skip


def test_a_stopped_sweep_keeps_what_it_has(planted_pair):
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append((done, total))
        if done >= 8:
            stop.set()

    options = {"batch_size": 2, "progress": progress, "stop": stop}
    bad, good = harmful_prompts(8), harmless_prompts(8)
    found = refusal_directions(planted_pair, bad, good, HOW, **options)
    assert seen[-1] == (8, 16) and found.n_fit == (4, 4) and found.n == (0, 0)
    assert "stopped at 8 of 16" in found.provenance
    early = refusal_directions(planted_pair, bad, good, HOW, stop=stop)
    assert (
        early.n_fit == (0, 0) and np.isnan(early.size).all() and early.as_dict()["size"][0] is None
    )
    assert early.table()[1] and early.separation["teacher"][0].n == 0
    plane = project(planted_pair, bad, good, HOW, stop=stop)
    assert plane.prompts == () and "0 prompts of 16" in plane.provenance


def test_batches_too_large_for_the_device_are_halved(planted_pair, monkeypatch):
    whole = project(planted_pair, BAD, GOOD, HOW)
    real, limit = module._batch, 2

    def tight(pair, ours, theirs, mask):
        if len(ours) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pair, ours, theirs, mask)

    monkeypatch.setattr(module, "_batch", tight)
    assert np.allclose(project(planted_pair, BAD, GOOD, HOW).points, whole.points, atol=1e-3)
    limit = 0
    with pytest.raises(DapaError, match="out of memory on one prompt"):
        project(planted_pair, BAD, GOOD, HOW)


def test_mistakes_are_named(planted_pair):
    with pytest.raises(PromptError, match="3 harmful prompts are too few"):
        refusal_directions(planted_pair, BAD[:3], GOOD, HOW)
    with pytest.raises(SettingError, match="layer 9"):
        refusal_directions(planted_pair, BAD, GOOD, HOW, Mask.of([Unit(9)]))
    with pytest.raises(PromptError, match="one harmful and one harmless"):
        project(planted_pair, BAD, [], HOW, EMPTY)
