"""The summary against its parts, planted truth on every family, and what is missing."""

import json
import threading

import numpy as np
import pytest
from scipy import stats
from support import BASE, planted_models
from test_divergence import HOW
from test_tracing import twins

from dapa.core.records import EMPTY, Mask, Prompt, PromptError, SettingError, Unit
from dapa.localize.causes.flips import left_out_effects, single_effects
from dapa.localize.causes.gradients import integrated_gradients
from dapa.localize.causes.patching import patching
from dapa.localize.causes.trace import causal_trace
from dapa.localize.divergence.divergence import divergence
from dapa.localize.divergence.tokens import encoded
from dapa.localize.rank_agreement import best_agreement, rank_agreement
from dapa.localize.summary import CHEAP, COLUMNS, summary
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.pair import Pair
from dapa.planted.pairs import Planting, harmful_prompts
from dapa.planted.planting import random_planting
from dapa.search.priors import weight_distance
from dapa.store.runs import Store
from dapa.workbench import Workbench

KEYS = [
    *("layer", "divergence", "weights", "single", "left_out", "trace", "patching", "gradient"),
    "in_search",
]


def told(pair, prompts, kind="gate", **options):
    return summary(pair, prompts, HOW, kind, weigh=weight_distance, **options)


@pytest.fixture(scope="module")
def whole(planted_pair):
    return told(planted_pair, twins(6), found=("run-1", (Unit(1), Unit(2))))


def test_every_column_is_what_its_own_measure_says(planted_pair, whole):
    texts = [prompt.text for prompt in twins(6)]
    ids = [encoded(planted_pair, text, HOW).ids for text in texts]
    units = planted_pair.units("gate")
    wanted = {
        "divergence": divergence(planted_pair, texts, HOW, sites=["gate"]).values[:, 0],
        "weights": list(weight_distance(planted_pair, units).values()),
        "single": single_effects(planted_pair, ids).values,
        "left_out": left_out_effects(planted_pair, ids).values,
        "trace": causal_trace(planted_pair, twins(6), HOW).values[0, :, -1],
        "patching": patching(planted_pair, texts, HOW, ["mlp"]).values[:, 0],
        "gradient": integrated_gradients(planted_pair, ids).values,
        "in_search": [0, 1, 1, 0],
    }
    assert list(whole.columns) == list(COLUMNS) == list(wanted) and not whole.missing
    for name, values in wanted.items():
        assert whole.columns[name].values == pytest.approx(np.array(values), abs=1e-5), name
    rows = whole.as_dict()["rows"]
    assert [list(row) for row in rows] == [KEYS] * 4
    assert [row["in_search"] for row in rows] == [False, True, True, False]
    assert json.dumps(whole.as_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", ["and", "distractors"])
@pytest.mark.parametrize("seed", range(4))
def test_causal_columns_rank_every_planted_layer_above_every_other(kind, seed):
    planting = random_planting(seed, kind)
    pair = planted_models(BASE[seed], planting, seed).pair()
    rows = told(pair, twins(3, seed)).rows
    for column in ("left_out", "patching", "gradient", "trace"):
        values = np.array([row[column] for row in rows])
        others = np.delete(values, planting.needed)
        assert values[list(planting.needed)].min() > 2 * np.abs(others).max(), column
    distance = [row["weights"] for row in rows]
    assert all(distance[layer] > max(distance[i] for i in planting.needed)
               for layer in planting.distractors), "a large change need not matter"  # fmt: skip


@pytest.mark.parametrize("model_type", BASE)
def test_where_either_layer_is_enough_the_single_transplants_tell(model_type):
    planting = Planting(6, (1,), alternative=(4,), distractors=(2, 5))
    pair = planted_models(model_type, planting).pair()
    rows = told(pair, twins(3)).rows
    for column in ("single", "patching"):
        values = [row[column] for row in rows]
        assert set(np.argsort(values)[-2:]) == {1, 4} and min(values[1], values[4]) > 2
    assert max(abs(row["left_out"]) for row in rows) < 1, "neither is missed"


def test_a_layer_with_equal_weights_has_no_effect_and_whole_mlps_are_one_kind(trio):
    pair = trio.pair
    asked = [Prompt(text) for text in harmful_prompts(2)]
    found = told(pair, asked)
    assert [found.rows[1][name] for name in ("single", "left_out", "gradient", "weights")] == [
        0
    ] * 4
    assert found.rows[0]["single"] != 0 and found.rows[0]["weights"] > 0
    mlp = told(pair, asked, "mlp")
    assert mlp.kind == "mlp" and all(row["weights"] > 0 for row in mlp.rows)


def test_several_kinds_of_a_layer_move_together(trio):
    pair, asked = trio.pair, [Prompt(text) for text in harmful_prompts(2)]
    found = told(pair, asked, "gate,up")
    ids = [encoded(pair, one.text, HOW).ids for one in asked]
    here = [Mask.of([Unit(0, "gate"), Unit(0, "up")]), Mask.of(pair.units("gate,up"))]
    rest = Mask.of(u for u in pair.units("gate,up") if u.layer)
    f = refusal_log_odds(pair, ids, [EMPTY, *here, rest]).mean(axis=1)
    assert found.rows[0]["single"] == pytest.approx(f[1] - f[0], abs=1e-5)
    assert found.rows[0]["left_out"] == pytest.approx(f[2] - f[3], abs=1e-5)
    both = integrated_gradients(pair, ids, pair.units("gate,up"))
    shares = dict(zip(both.units, both.values, strict=True))
    wanted = shares[Unit(0, "gate")] + shares[Unit(0, "up")]
    assert found.rows[0]["gradient"] == pytest.approx(wanted, abs=1e-4)
    assert found.rows[1]["single"] != 0, "its gate is equal, its up is not"


def test_what_cannot_be_computed_is_none_with_its_reason(planted_pair):
    found = told(planted_pair, [Prompt(text) for text in harmful_prompts(2)])
    assert set(found.missing) == {"trace", "in_search"}
    assert "twin" in found.missing["trace"] and "search" in found.missing["in_search"]
    assert all(row["trace"] is None and row["in_search"] is None for row in found.rows)
    assert not {"trace", "in_search"} & {name for a, b, _ in found.agreements for name in (a, b)}
    helped = told(planted_pair, [Prompt("use malware")], harmless=["use software"])
    assert "trace" not in helped.missing


def test_a_vocabulary_without_refusals_keeps_what_needs_none(planted_pair, monkeypatch):
    import dapa.model.decode.openers as openers

    monkeypatch.setattr(openers, "opens_refusal", lambda text: False)
    monkeypatch.setattr(openers, "REFUSAL_OPENERS", ())
    found = told(planted_pair, twins(2))
    assert set(found.columns) == {"divergence", "weights"}
    assert "opens a refusal" in found.missing["gradient"]


def test_measures_are_held_against_each_other(whole):
    pairs = {(a, b): agreement for a, b, agreement in whole.agreements}
    assert len(pairs) == 8 * 7 // 2
    assert pairs["left_out", "gradient"].rho > 0.5 and pairs["left_out", "gradient"].n == 4
    name, best = whole.best_cheap
    rivals = [a.rho for (x, y), a in pairs.items() if "left_out" in (x, y) and {x, y} & set(CHEAP)]
    assert best.rho == max(rivals)
    assert name in COLUMNS
    assert best.of == 5 and whole.as_dict()["best_cheap"]["of"] == 5
    body = whole.as_dict()["agreement"][0]
    assert set(body) == {"a", "b", "rho", "low", "high", "p", "n"}


def test_a_stopped_summary_keeps_the_columns_it_finished(planted_pair):
    stop, seen = threading.Event(), []

    def progress(name, share):
        seen.append(share)
        if name == COLUMNS["left_out"][0]:
            stop.set()

    found = told(planted_pair, twins(2), progress=progress, stop=stop)
    assert {"divergence", "weights", "single", "left_out"} <= set(found.columns)
    assert {"trace", "patching", "gradient"} <= set(found.missing)
    assert seen == sorted(seen) and seen[-1] <= 1


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"kind": "knee"}, SettingError, "knee"),
        ({"kind": "head"}, SettingError, "equal head weights"),
        ({"kind": "up"}, SettingError, "equal up weights"),
        ({"prompts": []}, PromptError, "no prompt"),
    ],
)
def test_mistakes_are_named(planted_pair, options, error, word):
    with pytest.raises(error, match=word):
        told(planted_pair, **{"prompts": twins(1), **options})


def test_the_newest_run_of_this_pair_and_sites_is_taken(planted_pair: Pair, tmp_path):
    bench = Workbench(tmp_path / "runs", planted_pair)
    assert bench.newest_found("gate") is None and not (tmp_path / "runs").exists()
    store = Store(tmp_path / "runs")
    spec = {"student": planted_pair.spec.student, "teacher": planted_pair.spec.teacher}

    def add(units, **settings):
        run = store.new_run("search", "x", {"pair": spec, "kind": "gate", **settings})
        store.finish(run.id, "done", units and {"units": units})
        return run.id

    old = add(["0.gate"])
    assert bench.newest_found("gate") == (old, (Unit(0),))
    new = add(["1.gate", "2.gate"])
    add(["3.up"], kind="up")
    add(["3.gate"], pair={**spec, "teacher": "another"})
    add(None)
    assert bench.newest_found("gate") == (new, (Unit(1), Unit(2)))
    assert [r["in_search"] for r in bench.summary(twins(1)).rows] == [False, True, True, False]


def test_what_if_asks_one_prompt_under_every_single_flip(planted_pair, tmp_path):
    found = Workbench(tmp_path, planted_pair).what_if("use malware", twin_mask := _mask(1))
    assert found.mask == twin_mask and len(found.cells) == 4
    assert [cell.refusal > 0.5 for cell in found.cells] == [False, False, True, False]


def _mask(*layers):
    return Mask.of(Unit(layer) for layer in layers)


def test_the_best_of_several_measures_is_doubted_as_a_choice():
    """Independently: numpy's own permutations of the largest of k Spearman correlations."""
    rng = np.random.default_rng(3)
    causal = rng.normal(size=14)
    cheap = {name: rng.normal(size=14) for name in "abcde"}
    name, best = best_agreement(cheap, causal, seed=1)
    rhos = {key: stats.spearmanr(values, causal).statistic for key, values in cheap.items()}
    assert name == max(rhos, key=rhos.get) and best.rho == pytest.approx(rhos[name])
    most = [max(stats.spearmanr(values, drawn).statistic for values in cheap.values())
            for drawn in (rng.permutation(causal) for _ in range(400))]  # fmt: skip
    assert best.p == pytest.approx(np.mean(np.array(most) >= best.rho), abs=0.08)
    z, se = np.arctanh(best.rho), np.sqrt((1 + best.rho**2 / 2) / 11)
    reach = stats.norm.ppf(1 - 0.05 / 5 / 2) * se
    assert (best.low, best.high) == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)))
    assert best.of == 5 and best.p > rank_agreement(cheap[name], causal).p


def test_among_measures_that_say_nothing_the_best_is_rarely_called_sure():
    """The misleading null: the largest of five was held to the interval and p of a single one."""
    rng, plain, chosen, outside = np.random.default_rng(0), 0, 0, 0
    for _ in range(120):
        causal, cheap = rng.normal(size=12), {name: rng.normal(size=12) for name in "abcde"}
        name, best = best_agreement(cheap, causal)
        plain += rank_agreement(cheap[name], causal).p <= 0.05
        chosen += best.p <= 0.05
        outside += best.low > 0
    assert plain / 120 > 0.1 and chosen / 120 < 0.1 and outside / 120 < 0.07


def test_a_perfect_measure_stays_sure_and_maps_without_spread_are_no_choice():
    causal = np.arange(10.0)
    name, best = best_agreement({"flat": np.ones(10), "same": causal**3}, causal)
    assert (name, best.of) == ("same", 1) and best.p < 0.01
    assert best_agreement({"flat": np.ones(10)}, causal) is None
    holes = {"holed": np.where(causal == 4, np.nan, -causal), "same": causal}
    name, best = best_agreement(holes, causal)
    single = rank_agreement(causal, causal).p
    assert name == "same" and best.p == pytest.approx(2 * single), "Bonferroni where units differ"
