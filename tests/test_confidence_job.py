"""A confidence search through a job: on a planted pair, stored, resumed, stopped, told."""

import threading
from dataclasses import replace

import pytest
from searched import AND, planted_pair

from dapa.cli.confiding import certified
from dapa.cli.output import console
from dapa.core.records import Mask, Prompt, SettingError
from dapa.measure.chosen import split_of_run
from dapa.model.decode.generation import Batch
from dapa.planted.pairs import harmful_prompts
from dapa.prompts.sets import PromptSet
from dapa.search.archive import FROZEN
from dapa.search.choosing_again import AGAIN, choosing_again
from dapa.search.engine import confident as engine
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store
from dapa.ui.tabs.search.result import draw
from dapa.workbench import Workbench
from dapa.workbench.measurements.stability import finding
from dapa.writing.confidence import headline

SETTINGS = SearchSettings(max_new_tokens=12, claim="confidence")


def asked(count=170):
    """Harmful prompts of five kinds."""
    texts = harmful_prompts(count)
    return PromptSet(
        "planted", "harmful", tuple(Prompt(t, f"kind {i % 5}") for i, t in enumerate(texts))
    )


def job_in(folder, settings=SETTINGS, run=None, count=170):
    return SearchJob(planted_pair(), asked(count), settings, Store(folder), run)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A whole search, run once."""
    job = job_in(tmp_path_factory.mktemp("confidence"))
    job.run()
    return job


@pytest.fixture
def decoded(monkeypatch):
    """Counts the prompts that are given to a model to answer."""
    seen = []
    real = Batch.admit
    monkeypatch.setattr(Batch, "admit", lambda self, rows: seen.extend(rows) or real(self, rows))
    return seen


def test_the_planted_layers_are_certified_and_firm(ended):
    report, record = ended.report, ended.report.confidence
    assert report.layers == AND.needed and record.units == report.units
    assert record.form == "concentrated" and record.margin == 0.1
    assert record.firm == report.units and not record.undecided
    assert record.plan.certify == 110 == len(ended.held_out) == report.rates["held_out"].n
    assert len(ended.prompts) == 60 == report.rates["best"].n
    assert report.rates["student_held_out"].value == 0 and not report.one_minimal
    assert record.overfit.drop.value == 0 and record.looks == 1 == report.looks
    assert record.unseen.certified.n and set(record.unseen.kinds) == set(record.plan.unseen)
    assert {line.role for line in report.rechecks} == {"best", "full"}


def test_the_record_is_stored_in_the_run_and_comes_back(ended):
    stored = ended.store.run(ended.id)
    again = type(ended.report).from_dict(stored.result)
    assert again.confidence == ended.report.confidence
    assert stored.settings["claim"] == "confidence" and stored.state == "done"
    frozen = ended.store.rating(FROZEN, ended.id)
    assert [len(units) for units in frozen["chain"]] == [
        link.size for link in again.confidence.chain
    ]


def test_a_resumed_search_reaches_the_same_chain_and_decodes_nothing(ended, decoded, monkeypatch):
    def deaf(*_, **__):
        raise AssertionError("nothing is read anew")

    monkeypatch.setattr("dapa.search.setup.LogOddsReader", deaf)
    monkeypatch.setattr("dapa.search.prepared.rank", deaf)
    before = ended.report.confidence
    again = job_in(ended.store.folder, SETTINGS, ended.id).run()
    assert again.confidence == before and not decoded and again.costs.tokens == 0
    assert again.units == ended.report.units and again.looks == 1


def test_a_second_certification_on_the_same_prompts_is_a_counted_look(ended, decoded):
    other = job_in(ended.store.folder, replace(SETTINGS, seed=5))
    report = other.run()
    assert report.confidence.looks == 2 == report.looks


def test_a_first_look_and_another_deal_of_a_larger_set_are_counted_looks(tmp_path):
    """They certify on some of the same prompts, though not on all."""
    looks = [
        job_in(tmp_path, replace(SETTINGS, full_length=False, **own)).run().confidence.looks
        for own in ({"claim": "quick"}, {}, {"seed": 5, "certify": 100})
    ]
    assert looks == [1, 2, 3]


def test_every_certify_prompt_is_asked_after_the_chain_was_kept(tmp_path, monkeypatch):
    job = job_in(tmp_path, replace(SETTINGS, claim="quick"))
    before, real = [], engine.ConfidenceDriver._judge

    def judge(self, question):
        if job.store.rating(FROZEN, job.id) is None:
            before.extend(question.prompts)
        return real(self, question)

    monkeypatch.setattr(engine.ConfidenceDriver, "_judge", judge)
    record = job.run().confidence
    assert before and set(before) <= set(job.parts.choose)
    assert record.plan.claim == "quick" and record.plan.certify == 100 and record.margin == 0.1


def test_a_stop_keeps_the_best_and_resuming_ends_as_an_undisturbed_search(
    ended, tmp_path, monkeypatch
):
    job = job_in(tmp_path)
    real = engine.ConfidenceDriver._judge

    def judge(self, question):
        if question.phase == "certify":
            self.control.stop()
        return real(self, question)

    monkeypatch.setattr(engine.ConfidenceDriver, "_judge", judge)
    report = job.run()
    assert report.stop_reason == "stopped" and report.confidence.form == "unclaimed"
    assert job.store.run(job.id).state == "stopped"
    assert "stopped before the certifying ended" in headline(report.confidence.as_dict(), "gate")
    monkeypatch.undo()
    again = job_in(tmp_path, SETTINGS, job.id).run()
    mine, whole = again.confidence, ended.report.confidence
    assert (mine.chain, mine.standings, mine.form) == (whole.chain, whole.standings, whole.form)


def test_a_budget_of_tests_ends_the_choosing_and_is_told(tmp_path):
    report = job_in(tmp_path, replace(SETTINGS, max_tests=2)).run()
    assert report.stop_reason == "budget: 2 tests" and report.costs.tests == 2
    assert report.rates["held_out"].n == 110, "the closing does not draw on it"


def test_few_prompts_claim_nothing_and_say_so_before(tmp_path):
    job = job_in(tmp_path, count=90)
    assert "no claim will be made" in job.shows
    report = job.run()
    assert report.confidence.form == "unclaimed" and report.layers == AND.needed
    assert report.rates["held_out"].n == 30


def test_screen_and_command_line_tell_the_headline_and_a_table(ended, capsys):
    report = ended.report
    told = headline(report.confidence.as_dict(), "gate")
    page = draw(report, "gate", 6, None)
    assert "Concentrated in layers 1, 4" in page and "passed" in page and "firm" in page
    screen = console()
    for part in certified(ended, report):
        screen.print(part)
    out = " ".join(capsys.readouterr().out.split())
    assert told.split(":")[0] in out and "Planned: Choose freely" in out


def test_an_evaluation_takes_the_prompts_that_certified_as_held_out(ended):
    run = ended.store.run(ended.id)
    search, held_out = split_of_run(run, asked(), ended.report.mask, planted_pair())
    assert {p.text for p in held_out} == {p.text for p in ended.held_out}
    assert {p.text for p in search} == {p.text for p in ended.prompts}


def test_auto_is_exact_on_planted_pairs_and_where_a_goal_or_algorithm_is_chosen(tmp_path):
    auto = SearchSettings()
    assert auto.resolved(planted=True) == "exact" and auto.resolved(False) == "confidence"
    assert SearchSettings(algorithm="ddmin").resolved(False) == "exact"
    assert SearchSettings(target=0.5).resolved(False) == "exact"
    job = job_in(tmp_path, SearchSettings(max_new_tokens=12))
    assert job.settings.claim == "exact" and not job.confident and "Exact mode" in job.shows
    with pytest.raises(SettingError, match="takes no algorithm"):
        SearchSettings(claim="quick", algorithm="ddmin")


def test_a_run_that_was_stored_without_a_claim_was_exact():
    body = {k: v for k, v in SearchSettings().as_dict().items() if k != "claim"}
    assert SearchSettings.from_dict(body).claim == "exact"


def test_the_set_is_a_mask_that_the_pair_takes(ended):
    planted_pair().validate(Mask.of(ended.report.units))


def test_choosing_again_in_other_orders_and_on_resamples_agrees_on_the_planted_core(ended):
    driver = ended.choosing()
    found = choosing_again(driver, ended.ranking.values, orders=3, bootstraps=3)
    assert found.complete and len(found.repetitions) == 6
    assert found.always == ended.report.units and not found.sometimes
    assert len(found.never) == 4 and found.jaccard("order") == 1.0
    asked = {place for known in driver._said.values() for place in known}
    assert asked <= set(ended.parts.choose), "nothing that certifies is asked"
    assert "nothing was certified anew" in finding(found)
    assert found.as_dict()["agreed"]["always"] == ["1.gate", "4.gate"]


def test_choosing_again_stops_between_readings(ended):
    stop = threading.Event()
    stop.set()
    found = choosing_again(ended.choosing(stop), ended.ranking.values, stop=stop)
    assert not found.complete and not found.repetitions


def test_the_button_s_backend_keeps_what_was_agreed_in_the_store(ended, monkeypatch):
    bench = Workbench(ended.store.folder, planted_pair())
    found = bench.stability(ended, orders=1, bootstraps=1)
    kept = bench.store.rating(AGAIN, ended.id)
    assert kept["agreed"]["always"] == [str(unit) for unit in found.always]
