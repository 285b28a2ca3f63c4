"""Priors name the planted layers; a search follows one, says which, and ends 1-minimal anyhow."""

import tempfile
from threading import Event

import pytest
from searched import AND, prompt_set, searched

from dapa.core.records import SettingError, Unit
from dapa.model.decode.openers import NoOpeners
from dapa.prompts.format import PromptFormat
from dapa.search import priors as room
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob
from dapa.search.priors import few, priors, rank
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

HOW = PromptFormat()


def asked():
    job = searched()
    return job.pair, job.units, [prompt.text for prompt in job.prompts[:4]]


@pytest.mark.parametrize("name", ["gradient", "single"])
def test_priors_of_log_odds_rank_the_planted_layers_first(name):
    pair, units, texts = asked()
    used, values = rank(name, pair, units, texts, HOW)
    assert used == name and set(values) == set(units)
    assert set(sorted(units, key=values.get)[-2:]) == set(AND.units)


def test_every_prior_ranks_blocks_and_matrices_too():
    pair, _, texts = asked()
    units = (Unit(1, "gate", (0, 16)), Unit(1, "gate", (16, 32)), Unit(4))
    for name in priors:
        assert set(priors[name](pair, units, texts, HOW, None, None)) == set(units)


def test_without_a_refusal_opener_the_default_falls_back_to_divergence(monkeypatch):
    pair, units, texts = asked()

    def none(*_, **__):
        raise NoOpeners("none")

    monkeypatch.setattr(room, "integrated_gradients", none)
    assert rank(None, pair, units, texts, HOW)[0] == "divergence"
    with pytest.raises(NoOpeners):
        rank("gradient", pair, units, texts, HOW)


def test_a_stopped_prior_is_none():
    pair, units, texts = asked()
    stop = Event()
    stop.set()
    for name in ("divergence", "gradient", "single"):
        with pytest.raises(Halted):
            rank(name, pair, units, texts, HOW, stop)


def test_few_prompts_are_spread_over_all():
    assert few(list("abcdefgh"), 4) == ["a", "c", "e", "g"]
    assert few(["a"], 4) == ["a"] and few([], 4) == []


def run(**settings):
    pair = searched().pair
    chosen = SearchSettings(max_new_tokens=12, **settings)
    job = SearchJob(pair, prompt_set(), chosen, Store(tempfile.mkdtemp()))
    return job, job.run()


def test_a_weighted_search_follows_its_prior_and_takes_fewer_tests():
    plain = run(algorithm="bisect")[1]
    for name in (None, "single"):
        job, report = run(algorithm="weighted", prior=name)
        assert report.layers == AND.needed and report.one_minimal
        assert report.prior["name"] == (name or "gradient") == job.ranking.name
        assert set(report.prior["values"]) == {str(unit) for unit in job.units}
        assert report.costs.tests < 0.8 * plain.costs.tests
        assert "prior" in report.costs.phases and report.as_dict()["prior"] == report.prior
    assert plain.prior is None and "prior" not in plain.costs.phases


def test_the_top_of_a_prior_is_found_by_name():
    _, report = run(algorithm="top-k", prior="single")
    assert report.layers == AND.needed and not report.one_minimal and not report.removals


def test_a_search_that_is_stopped_before_its_prior_asks_nothing():
    job = SearchJob(
        searched().pair,
        prompt_set(),
        SearchSettings(algorithm="weighted", max_new_tokens=12),
        Store(tempfile.mkdtemp()),
    )
    job.control.stop()
    report = job.run()
    assert report.stop_reason == "stopped" and report.costs.prompts_judged == 0


def test_what_makes_no_prior_is_refused():
    with pytest.raises(SettingError, match="weighted or top-k"):
        SearchSettings(algorithm="ddmin", prior="gradient")
    with pytest.raises(SettingError, match="does not exist"):
        SearchSettings(algorithm="weighted", prior="nothing")
    with pytest.raises(SettingError, match="blocks of neurons"):
        SearchSettings(blocks=0)
