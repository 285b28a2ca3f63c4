"""The table of baselines: one oracle, one budget, one memory, and no flattery."""

import json
from threading import Event

import pytest
from searched import AND, HARMLESS, prompt_set, searched

from dapa.core.records import EMPTY, Mask, Prompt, SettingError, Unit
from dapa.measure.baselines import baselines
from dapa.measure.comparisons import Bench
from dapa.planted.pairs import Planting, harmless_prompts
from dapa.prompts.format import PromptFormat
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.search.job import SearchJob
from dapa.search.priors import divergence_prior, weight_distance


@pytest.fixture(scope="module")
def table():
    job = searched()
    odd = {Unit(layer): float(layer % 2) for layer in range(6)}
    contrast = [Prompt(text) for text in harmless_prompts(6, seed=1)]
    return job, baselines(job, HARMLESS, priors={"odd layers": lambda: odd}, contrast=contrast)


def test_found_refuses_and_what_lacks_a_needed_layer_does_not(table):
    job, found = table
    assert job.report.layers == AND.needed
    assert found.row("found").held_out.value == 1.0
    assert found.row("student").held_out.value == 0.0
    for row in found.rows:
        if row.role == "baseline" and row.name not in ("system-prompt", "blend", "direction"):
            truth = float(AND.refuses(set(row.mask.layers)))
            assert row.search.value == row.held_out.value == truth, row.name
            assert row.incoherent.value == 0.0 and row.over_refusal.value == 0.0


def test_every_kind_of_baseline_is_there(table):
    _, found = table
    names = [row.name for row in found.rows]
    assert names[:2] == ["student", "found"] and len(set(names)) == len(names)
    assert {
        "teacher", "system-prompt", "all", "whole-mlp", "released", "blend", "random-k", "window",
        "top-k-divergence", "top-k-weight-distance", "top-k-gradient", "top-gradient", "direction",
        "top-k-odd-layers", "greedy-forward",
    } < set(names)  # fmt: skip
    assert found.row("teacher").held_out.value == 1.0
    assert found.complete
    with pytest.raises(SettingError, match="there are student"):
        found.row("nothing")


def test_methods_that_are_given_the_size_keep_it_and_the_budget(table):
    job, found = table
    assert found.tests == job.report.costs.tests and found.size == 2
    for row in found.rows:
        assert row.spent.tests <= found.tests
        if row.name in ("random-k", "window") or row.name.startswith("top-k"):
            assert len(row.mask) == 2, row.name
    assert found.row("top-k-odd-layers").mask.layers == (1, 3)
    assert found.row("random-k").spent.tests == found.tests


def test_a_distractor_leads_top_k_by_weights_nowhere(table):
    job, found = table
    row = found.row("top-k-weight-distance")
    assert 3 in row.mask.layers and row.held_out.value == 0.0
    assert row.gain.low <= 0 <= row.gain.high and row.p_value < 0.05
    assert found.row("all").p_value == 1.0


def test_released_range_moves_whole_mlps_and_says_that_it_is_scaled(table):
    _, found = table
    row = found.row("released")
    assert row.mask.units == (Unit(2, "mlp"),) and "scaled" in row.note


def test_the_system_prompt_changes_no_weight(table):
    _, found = table
    row = found.row("system-prompt")
    assert row.mask == EMPTY and row.share == 0.0 and row.held_out is not None


def test_the_refusal_direction_is_tried_layer_by_layer_within_the_budget(table):
    job, found = table
    row = found.row("direction")
    assert row.mask == EMPTY and row.share == 0.0 and "behind layer" in row.note
    assert row.spent.tests == min(job.pair.n_layers, found.tests) and row.spent.tokens > 0
    assert row.search is not None and row.kl_first.value > 0  # added to harmless prompts too


def test_utility_is_measured_for_every_row(table):
    _, found = table
    assert found.row("student").kl.value == pytest.approx(0, abs=1e-9)
    for row in found.rows:
        assert row.kl is not None and row.kl_first is not None and row.kl.n == 6, row.name


def test_without_harmless_prompts_there_is_no_utility_and_no_direction():
    found = baselines(searched(Planting(5, (2,))), tests=1)
    assert "direction" not in [row.name for row in found.rows]
    assert all(row.kl is None and row.over_refusal is None for row in found.rows)


def test_a_format_without_system_prompt_says_so():
    job = searched()
    raw = SearchJob(job.pair, prompt_set(), job.settings.__class__(mode="raw"), job.store)
    raw.report = job.report
    row = baselines(raw, tests=1).row("system-prompt")
    assert row.held_out is None and row.p_value is None and "takes no system prompt" in row.note


def test_what_the_search_has_judged_costs_nothing():
    job = searched()
    split = oracle(job.pair, job.prompts, PromptFormat(), job.settings.max_new_tokens, job.store)
    for mode in ("opening", "full"):
        inquiry = Inquiry(split, mode)
        inquiry.judge([EMPTY, job.report.mask, job.full])
        assert split.runner.work.decoded == 0
    bench = Bench(job)
    bench.refused(job.report.mask)
    assert bench.inquiries["held_out"].split.runner.work.decoded == 0


def test_stopping_keeps_the_rows_so_far():
    stop = Event()
    titles = []

    def progress(title, share):
        titles.append(title)
        assert 0 <= share <= 1
        if len(titles) == 6:
            stop.set()

    some = baselines(searched(Planting(5, (2,))), progress=progress, stop=stop)
    assert not some.complete and 2 <= len(some.rows) <= 6


def test_an_unfinished_search_has_nothing_to_compare():
    job = searched()
    fresh = SearchJob(job.pair, prompt_set(), job.settings, job.store)
    with pytest.raises(SettingError, match="run it to its end"):
        baselines(fresh)
    with pytest.raises(SettingError, match="1 or more"):
        baselines(job, tests=0)


def test_json_holds_every_row_and_null_for_what_is_unknown(table):
    _, found = table
    body = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert len(body["rows"]) == len(found.rows)
    row = body["rows"][1]
    assert (
        0 <= row["kl"]["value"] < 0.5
        and row["kl_first"]["n"] == 6
        and row["role"] == "found"
        and row["layers"] == [1, 4]
    )
    assert row["held_out"]["n"] == 12 and row["mask"] == "1.gate,4.gate"


def test_priors_rank_by_weights_and_by_outputs():
    job = searched()
    units = job.units
    apart = weight_distance(job.pair, units)
    assert max(apart, key=apart.get) == Unit(3)
    blocks = weight_distance(job.pair, [Unit(3, "gate", (0, 16)), Unit(3, "gate", (16, 32))])
    assert min(blocks.values()) <= apart[Unit(3)] <= max(blocks.values())
    far = divergence_prior(job.pair, units, [p.text for p in job.prompts], PromptFormat())
    assert set(far) == set(units) and all(value >= 0 for value in far.values())


def test_a_search_out_of_tests_ends_with_the_best_it_saw():
    job = searched()
    split = oracle(job.pair, job.prompts, PromptFormat(), 12, job.store)
    from dapa.search.algorithms.questions import algorithms

    inquiry = Inquiry(split, "opening", job.report.need, max_tests=3)
    result, spent = inquiry.play(algorithms["greedy-forward"]()(job.units))
    assert result.reason == "budget: 3 tests" and spent.tests == 3 and len(result.units) == 1
    assert inquiry.rate(Mask.of(result.units)).value == 0.0
