"""Many workers answer a search as one process does, whichever is lost, hangs or comes late."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch
from crews import Beside, Crewed, asked, essence
from support import sweep

from dapa.core.records import EMPTY, DapaError, Label, PairError, Prompt, SettingError, Verdict
from dapa.measure.baselines import baselines
from dapa.measure.chance import chance
from dapa.model.adapted import open_checkpoint
from dapa.model.memory import PROCESS, estimate_memory
from dapa.model.presets import Preset
from dapa.planted.graded import mixed_planting
from dapa.planted.pairs import harmful_prompts, plant
from dapa.planted.planting import random_planting
from dapa.prompts.sets import PromptSet
from dapa.search.engine.contract import Job
from dapa.search.engine.report import SearchReport
from dapa.search.engine.workers.hiring import crew_of, spec_of
from dapa.search.engine.workers.messages import Asking, Fault, Turn
from dapa.search.engine.workers.shared import _Rows
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.search.stability import stability
from dapa.store.runs import Store
from dapa.ui.tabs.search.result import draw
from dapa.workbench import Workbench

KINDS = ("and", "or", "inhibitor", "distractors")
CASES = [(kind, seed) for kind in KINDS for seed in range(5)]
SETTINGS = SearchSettings(max_new_tokens=20)


@pytest.fixture(scope="module")
def pair():
    return plant(random_planting(3, "and"), "llama", 3).pair("workers")


@pytest.fixture(scope="module")
def alone(pair, tmp_path_factory):
    """What one process finds."""
    return essence(run(pair, tmp_path_factory.mktemp("alone")))


def job_of(pair, folder, settings=SETTINGS, run_id=None):
    return SearchJob(pair, asked(3), settings, Store(folder), run_id)


def run(pair, folder, settings=SETTINGS):
    """A whole search; where workers are hired, it begins when all have joined."""
    job = job_of(pair, folder, settings)
    if job.crew is not None:
        job.crew.wait()
    job.run()
    return job


@pytest.mark.parametrize(("kind", "seed"), sweep(CASES))
def test_two_workers_search_as_one_process_does(kind, seed, tmp_path, monkeypatch):
    pair = plant(random_planting(seed, kind), "llama", seed).pair(f"{kind}-{seed}")
    one = essence(run(pair, tmp_path / "one"))
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    two = run(pair, tmp_path / "two")
    assert essence(two) == one
    assert all(crewed.turns) and len(crewed.turns) == 2, "both had a part in it"
    assert not two.crew.note


def test_a_confidence_search_is_the_same_with_two_workers(tmp_path, monkeypatch):
    planting = mixed_planting(0)
    pair = plant(planting, seed=0).pair("votes")
    texts = harmful_prompts(200)
    prompts = PromptSet(
        "planted", "harmful", tuple(Prompt(t, f"kind {i % 6}") for i, t in enumerate(texts))
    )
    settings = SearchSettings(max_new_tokens=8, claim="confidence", full_length=False)

    def searched(name):
        job = SearchJob(pair, prompts, settings, Store(tmp_path / name))
        if job.crew is not None:
            job.crew.wait()
        return job.run().confidence.as_dict()

    one = searched("one")
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    two = searched("two")
    for told in (one, two):
        round_odds(told)
    assert two == one and all(crewed.turns)


def round_odds(told):
    """Log-odds are read in other batches, so that their last digits may differ."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        if isinstance(value, dict | list):
            round_odds(value)
        elif isinstance(value, float):
            told[key] = round(value, 4)


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_the_work_of_a_worker_that_dies_is_done_again(turns, pair, alone, tmp_path, monkeypatch):
    crewed = Crewed(
        monkeypatch, lambda pair, number: Beside(pair, turns=turns if number == 1 else None)
    )
    job = run(pair, tmp_path)
    assert essence(job) == alone
    assert job.crew.lost == ["worker 1: it died"] and "worker 1" in job.crew.note
    stored = SearchReport.from_dict(job.store.run(job.id).result)
    for told in (job.report, stored):
        assert told.helped == job.crew.note and "worker 1: it died" in draw(told, "gate", 4, None)
    assert len(crewed.posts) == 3, "another was hired in its place"


def test_a_worker_that_hangs_is_given_up_and_its_work_done_again(
    pair, alone, tmp_path, monkeypatch
):
    def make(pair, number):
        return Beside(pair, turns=2 if number == 1 else None, then="hang")

    crewed = Crewed(monkeypatch, make, silent=1.0)
    job = run(pair, tmp_path)
    assert essence(job) == alone
    assert any("worker 1: it was silent for 1 s" in line for line in job.crew.lost)
    assert crewed.posts[0].ended.is_set()


def test_when_all_workers_die_this_process_goes_on(pair, alone, tmp_path, monkeypatch):
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair, turns=1))
    job = run(pair, tmp_path)
    assert essence(job) == alone
    assert len(crewed.posts) == len(job.crew.lost) == 6, "it does not hire for ever"


def test_a_worker_that_joins_late_helps_from_then_on(pair, alone, tmp_path, monkeypatch):
    event = threading.Event()
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair, after=event))
    job = job_of(pair, tmp_path)
    job.start()
    while not job.progress().costs.prompts_judged:  # by this process alone
        time.sleep(0.01)
    event.set()
    assert job.wait(120)
    assert essence(job) == alone
    assert sum(crewed.turns) > 0


def test_a_worker_that_read_other_files_is_sent_home(pair, alone, tmp_path, monkeypatch):
    def make(pair, number):
        return Beside(pair, digest="another" if number == 1 else None)

    crewed = Crewed(monkeypatch, make)
    job = run(pair, tmp_path)
    assert essence(job) == alone
    assert crewed.turns[0] == 0 and "other files" in job.crew.note
    assert len(crewed.posts) == 2, "whoever came in its place would read the same files"


def test_a_search_that_was_stopped_resumes_with_workers_to_the_same_result(
    pair, alone, tmp_path, monkeypatch
):
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    job = job_of(pair, tmp_path)
    job.crew.wait()
    job.start()
    while job.progress().costs.tests < 3:
        time.sleep(0.01)
    job.control.stop()
    assert job.wait(60) and job.report.stop_reason == "stopped"
    again = job_of(pair, tmp_path, run_id=job.id)
    again.crew.wait()
    again.run()
    (told, log), (told_alone, log_alone) = essence(again), alone
    assert told == told_alone and again.report.costs.recalled > 0
    assert [line[:-1] for line in log] == [line[:-1] for line in log_alone], "but for memory's part"
    assert all(crewed.turns[:2])


def test_a_paused_search_gives_no_worker_up(pair, alone, tmp_path, monkeypatch):
    Crewed(monkeypatch, lambda pair, number: Beside(pair), silent=1.0)
    job = job_of(pair, tmp_path)
    job.crew.wait()
    job.start()
    while job.progress().costs.tests < 2:
        time.sleep(0.01)
    job.control.pause()
    time.sleep(2.0)
    before = job.progress().costs.prompts_judged
    time.sleep(0.5)
    assert job.progress().costs.prompts_judged == before
    job.control.resume()
    assert job.wait(120) and essence(job) == alone and not job.crew.lost


def test_a_budget_of_tokens_ends_a_search_with_workers(pair, tmp_path, monkeypatch):
    Crewed(monkeypatch, lambda pair, number: Beside(pair))
    limited = SearchSettings(max_new_tokens=20, max_tokens=900)
    job = run(pair, tmp_path, limited)
    assert job.report.stop_reason == "budget: 900 tokens"
    assert job.report.costs.tokens < 900 + 2 * 48 * 20


def test_repeated_searches_are_helped_too(pair, tmp_path, monkeypatch):
    once = {"orders": 1, "bootstraps": 1, "retains": (0.9,)}
    job = run(pair, tmp_path / "one")
    one = stability(job.split, job.units, "bisect", SETTINGS, **once)
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    job = run(pair, tmp_path / "two")
    before = sum(crewed.turns)
    two = stability(job.split, job.units, "bisect", SETTINGS, **once)
    assert two.as_dict()["repetitions"] == one.as_dict()["repetitions"]
    assert sum(crewed.turns) > before


def without_seconds(found):
    """A table's JSON form without the times that it took."""
    if isinstance(found, dict):
        spent = ("seconds", "gpu_seconds", "tokens", "costs", "spent", "run")
        return {k: without_seconds(v) for k, v in found.items() if k not in spent}
    return [without_seconds(v) for v in found] if isinstance(found, list) else found


@pytest.mark.parametrize("what", ["baselines", "chance"])
def test_what_is_measured_beside_a_search_is_helped_too(what, pair, tmp_path, monkeypatch):
    def measured(name):
        job = run(pair, tmp_path / name)
        turns = sum(crewed.turns) if crewed else 0
        if what == "baselines":
            return without_seconds(baselines(job).as_dict()), turns
        return without_seconds(chance(job, job.held_out, sets=6).as_dict()), turns

    crewed = None
    one, _ = measured("one")
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    two, before = measured("two")
    assert two == one
    assert sum(crewed.turns) > before


def test_reproduced_pairs_are_helped_too(planted_folders, tmp_path, monkeypatch):
    student, teacher = (str(path) for path in planted_folders)
    chosen = [Preset("planted", student, teacher, "a planted pair", "bundled")]
    texts = tmp_path / "harmful.txt"
    texts.write_text("\n".join(harmful_prompts(24)), encoding="utf-8")
    settings = SearchSettings(max_new_tokens=12, prompts=str(texts))

    def reproduced(name):
        found = Workbench(tmp_path / name).reproduce(
            chosen, settings, dtype="float32", device="cpu"
        ).as_dict()  # fmt: skip
        return without_seconds(found)

    one = reproduced("one")
    assert one["pairs"][0]["state"] == "done"
    crewed = Crewed(monkeypatch, lambda pair, number: Beside(pair))
    assert reproduced("two") == one
    assert crewed.posts


class Broken(Beside):
    """A worker that cannot do what it is asked."""

    def ask(self, message):
        if isinstance(message, Turn):
            return Fault("ours", "ValueError: no such thing")
        return super().ask(message)


def test_a_fault_that_any_worker_would_have_ends_the_search_with_one_line(
    pair, tmp_path, monkeypatch
):
    Crewed(monkeypatch, lambda pair, number: Broken(pair))
    with pytest.raises(DapaError, match="worker . failed: ValueError: no such thing"):
        run(pair, tmp_path)


def test_a_verdict_comes_back_from_a_worker_as_it_was():
    import pickle

    verdict = Verdict(Label.REFUSAL, "rules/1", (0, 4), "said so", cut=True)
    again = pickle.loads(pickle.dumps(verdict))
    assert again == verdict and again.cut is True and again.label is Label.REFUSAL


def test_more_workers_than_memory_holds_are_refused(pair, monkeypatch):
    monkeypatch.setattr("dapa.search.engine.workers.hiring.free_memory", lambda device: 2**30)
    with pytest.raises(SettingError, match="4 workers hold the pair 4 times more.*take fewer"):
        crew_of(pair, 4)
    assert crew_of(pair, 1) is None


def test_the_load_counts_a_pair_for_each_worker(planted_folders, monkeypatch):
    places = [open_checkpoint(str(path)) for path in planted_folders]

    def estimate(workers, free):
        monkeypatch.setattr("dapa.model.memory.free_memory", lambda device: free)
        return estimate_memory(*places, "auto", torch.float32, "cpu", workers)

    alone = estimate(1, 2**40)
    whole, lean = alone.student + alone.teacher + alone.work, alone.student + alone.lean
    room = 3 * whole + 2 * PROCESS
    assert (estimate(2, room).mode, estimate(2, room - 3).mode) == ("full", "lean")
    assert estimate(1, whole).mode == "full", "one worker is this process alone"
    assert "for each of 3 processes, so the mode is full" in estimate(2, room).sentence
    with pytest.raises(PairError, match="for each of 4 processes; use fewer workers"):
        estimate(3, 2 * lean).raise_if_too_large()


def test_a_worker_is_told_what_the_pair_turned_out_to_be(pair):
    spec = spec_of(pair)
    assert (spec.dtype, spec.device, spec.memory) == ("float32", "cpu", "full")


def test_who_decodes_is_no_part_of_what_decides():
    many = SearchSettings(workers=8, ray="auto", worker_timeout=5.0)
    assert many.decisive() == SearchSettings().decisive()
    assert "8 workers" in many.sentence() and "worker" not in SearchSettings().sentence()


def test_a_worker_that_found_nothing_to_do_is_still_told_what_is_asked():
    job = Job(EMPTY, 0)
    waiting = [[], [job], []]
    jobs = SimpleNamespace(take=lambda room, spare: waiting.pop(0), wanted=lambda job: True)
    begin = (Asking(("a",), ((1,),), False, "", 4), "full")
    rows = _Rows(jobs, begin, SimpleNamespace(capacity=4, ahead=4), 1)
    assert rows.next(1) is None
    turn = rows.next(1)
    assert (turn.begin, turn.jobs) == (begin, (job,))
    assert rows.next(1).begin is None, "once is enough"
