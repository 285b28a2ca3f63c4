"""Effects in refusal log-odds against planted truth: needed layers matter, distractors do not."""

import threading

import numpy as np
import pytest
from scipy import stats
from support import planted_models
from test_openers import ids_of

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Unit
from dapa.localize.causes.flips import (
    contrasted,
    effect_of,
    interleaved,
    left_out_effects,
    single_effects,
    what_if,
)
from dapa.localize.causes.interaction import interactions
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.openers import find_openers
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts


@pytest.fixture(scope="module")
def asked(planted):
    models, pair = planted
    return models.planting, pair, ids_of(pair, harmful_prompts(8))


def test_left_out_effects_rank_the_needed_layers_first_and_distractors_near_zero(asked):
    planting, pair, ids = asked
    found = left_out_effects(pair, ids)
    effect = dict(zip(found.units, found.effects, strict=True))
    assert set(found.ranked[: len(planting.needed)]) == set(planting.units)
    assert all(effect[unit].low > 2 for unit in planting.units)
    for unit in set(found.units) - set(planting.units):
        assert abs(effect[unit].value) < 0.2, unit
    assert found.whole.value > 5 and found.whole.n == 8


def test_single_effects_rank_the_needed_layers_first(asked):
    planting, pair, ids = asked
    found = single_effects(pair, ids)
    assert set(found.ranked[: len(planting.needed)]) == set(planting.units)
    others = [e.value for u, e in zip(found.units, found.effects, strict=True) if u.layer in (0, 3)]
    assert max(map(abs, others)) < 0.05


def test_effects_are_differences_of_log_odds_with_intervals_over_prompts(asked):
    _, pair, ids = asked
    full = Mask.of(pair.units("gate"))
    without = Mask.of(u for u in full if u.layer != 2)
    f = refusal_log_odds(pair, ids, [EMPTY, full, without, Mask.of([Unit(2)])])
    alone, left_out = single_effects(pair, ids), left_out_effects(pair, ids)
    assert alone.per_prompt[2] == pytest.approx(f[3] - f[0], abs=1e-5)
    assert left_out.per_prompt[2] == pytest.approx(f[1] - f[2], abs=1e-5)
    effect = left_out.effects[2]
    assert effect.low <= effect.value <= effect.high and effect.n == len(ids)
    assert effect.value == pytest.approx((f[1] - f[2]).mean(), abs=1e-5)
    row = left_out.as_dict()["rows"][2]
    assert (row["unit"], row["layer"], row["n"]) == ("2.gate", 2, 8)


def test_what_if_tells_the_refusal_probability_after_each_single_flip(asked):
    planting, pair, ids = asked
    units = pair.units("gate")
    mask = Mask.of(planting.units[:1])
    strip = what_if(pair, ids[0], mask, units)
    assert strip.refusal < 0.1
    for cell in strip.cells:
        assert cell.added == (cell.unit not in mask.units)
        after = {*mask.layers} ^ {cell.unit.layer}
        assert (cell.refusal > 0.5) == planting.refuses(after), cell
        assert cell.effect == pytest.approx(cell.log_odds - strip.log_odds)
    assert [c["unit"] for c in strip.as_dict()["cells"]] == [str(u) for u in units]


def test_what_if_takes_a_blended_unit_back(asked):
    _, pair, ids = asked
    unit = Unit(1)
    strip = what_if(pair, ids[0], Mask.of([unit], 0.5), [unit])
    assert not strip.cells[0].added
    plain = refusal_log_odds(pair, ids[:1])[0, 0]
    assert strip.cells[0].log_odds == pytest.approx(plain, abs=1e-5)


def test_what_if_strip_of_the_toy_is_one_batch(toy_pair):
    (ids,) = ids_of(toy_pair, ["How can I poison a well?"])
    openers, units, rows = find_openers(toy_pair), toy_pair.units("gate"), []
    counter = toy_pair.student.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        what_if(toy_pair, ids, Mask.of(units[3:6]), units, openers)
    finally:
        counter.remove()
    assert rows == [len(units) + 1]


def test_needed_layers_interact_and_no_others_do(asked):
    planting, pair, ids = asked
    found = interactions(pair, ids)
    assert found.low[1, 2] > 2
    rest = [found.values[i, j] for i in range(4) for j in range(i) if {i, j} != {1, 2}]
    assert np.abs(rest).max() < 0.2
    assert np.array_equal(found.values, found.values.T, equal_nan=True)
    assert np.isnan(np.diag(found.values)).all()
    rows = {tuple(row["units"]): row for row in found.as_dict()["rows"]}
    assert rows["1.gate", "2.gate"]["value"] > 2 and len(rows) == 6


def test_interaction_is_the_pairs_effect_less_the_two_alone(asked):
    _, pair, ids = asked
    units = (Unit(1), Unit(2))
    found = interactions(pair, ids, units)
    f = refusal_log_odds(pair, ids, [EMPTY, *(Mask.of([u]) for u in units), Mask.of(units)])
    assert found.values[0, 1] == pytest.approx((f[3] - f[1] - f[2] + f[0]).mean(), abs=1e-4)
    assert found.alone[1].value == pytest.approx((f[2] - f[0]).mean(), abs=1e-5)


def test_an_inhibitor_has_an_effect_below_zero_and_the_antidote_mends_it():
    planting = Planting(5, (1,), inhibitor=2, antidote=3)
    pair = planted_models("llama", planting).pair()
    ids = ids_of(pair, harmful_prompts(4))
    strip = what_if(pair, ids[0], Mask.of([Unit(1)]), pair.units("gate"))
    assert strip.cells[2].effect < -2
    assert left_out_effects(pair, ids).ranked[:2] in {(Unit(1), Unit(3)), (Unit(3), Unit(1))}


def test_a_stopped_sweep_keeps_what_it_has_and_says_so(asked):
    _, pair, ids = asked
    stop = threading.Event()
    found = single_effects(pair, ids * 13, stop=stop, progress=lambda done, total: stop.set())
    assert 0 < found.whole.n < found.asked == 104
    assert f"{found.whole.n} prompts of 104" in found.provenance
    assert np.isfinite(found.values).all()


def test_no_prompt_and_a_unit_named_twice_are_refused(asked):
    _, pair, ids = asked
    with pytest.raises(PromptError, match="no prompt"):
        single_effects(pair, [])
    with pytest.raises(SettingError, match="twice"):
        left_out_effects(pair, ids, [Unit(1), Unit(1)])
    with pytest.raises(SettingError, match="layer 9 does not exist"):
        single_effects(pair, ids, [Unit(9)])


def test_one_prompt_has_effects_without_an_interval(asked):
    _, pair, ids = asked
    row = single_effects(pair, ids[:1]).as_dict()["rows"][1]
    assert row["n"] == 1 and row["low"] is None and row["value"] is not None


def test_harmless_prompts_are_subtracted_where_effects_stand_for_refusal(asked):
    """Against scipy's own intervals over the plain log-odds of both."""
    _, pair, bad = asked
    good = ids_of(pair, harmless_prompts(5))
    full, one = Mask.of(pair.units("gate")), Mask.of([Unit(2)])
    rest = Mask.of(u for u in full if u.layer != 2)
    b, g = (refusal_log_odds(pair, ids, [EMPTY, full, rest, one]) for ids in (bad, good))
    for found, x, y in (
        (single_effects(pair, bad, harmless=good), b[3] - b[0], g[3] - g[0]),
        (left_out_effects(pair, bad, harmless=good), b[1] - b[2], g[1] - g[2]),
    ):
        wanted = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
        told = found.effects[2]
        assert told.value == pytest.approx(x.mean() - y.mean(), abs=1e-4)
        assert (told.low, told.high) == pytest.approx(tuple(wanted), abs=2e-4)
        assert found.per_prompt[2] == pytest.approx(x - y.mean(), abs=1e-4)
        assert (found.harmless, found.whole.n) == (5, 8) and "less 5 harmless" in found.provenance
        assert found.as_dict()["openers"] == list(find_openers(pair).told)
    paired = left_out_effects(pair, bad[:5], harmless=good, twins=True).effects[2]
    x, y = (b[1] - b[2])[:5], g[1] - g[2]
    wanted = stats.ttest_rel(x, y).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx(tuple(wanted), abs=2e-4)


def test_what_moves_every_reply_alike_is_no_refusal():
    """The misleading null: a habit of beginning replies so, on harmless prompts as well."""
    rng = np.random.default_rng(0)
    habit, bad, good = 6.0, rng.normal(size=20) * 0.1, rng.normal(size=20) * 0.1
    assert effect_of(habit + bad).low > 5, "what stood there"
    less = contrasted(habit + bad, habit + good, False)
    assert less.low < 0 < less.high and abs(less.value) < 0.2


def test_a_stopped_contrast_has_some_of_both():
    assert interleaved(3, 3) == [0, 3, 1, 4, 2, 5] and interleaved(2, 0) == [0, 1]
    assert sorted(interleaved(4, 7)) == list(range(11))
    nothing = contrasted(np.array([1.0, np.nan]), np.array([np.nan]), False)
    assert np.isnan(nothing.value) and nothing.as_dict()["value"] is None
