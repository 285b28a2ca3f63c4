"""Ended searches and measurements do not keep a pair in memory that another one replaced."""

import gc
import weakref

import pytest
from searched import prompt_set

from dapa.core.measurement import Call
from dapa.core.records import DapaError, Mask, NothingToLocalize, PairError, Unit
from dapa.planted.pairs import Planting, plant
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.ui.dashboard import Dashboard
from dapa.ui.measurements.html import drawn
from dapa.ui.tabs.search.closer import offered
from dapa.ui.tabs.search.status import SearchStatus
from dapa.ui.tasks import Tasks
from dapa.workbench import Workbench
from dapa.workbench.measurements import measurements

AND = Planting(6, (1, 4))


class Bench(Workbench):
    """A workbench whose pairs are planted."""

    def next(self, planting=AND):
        """Put a new pair in the previous one's place."""
        self._pair = plant(planting).pair()
        gc.collect()
        return weakref.ref(self._pair)

    def searched(self, **settings):
        """A search of the pair, not run, listed like any other."""
        settings = SearchSettings(**{"max_new_tokens": 12, **settings})
        job = SearchJob(self.pair, prompt_set(), settings, self.store)
        self._jobs[job.id] = job
        return job


@pytest.mark.parametrize("algorithm", ["bisect", "weighted"])
def test_an_ended_search_keeps_its_report_and_lets_its_pair_go(tmp_path, algorithm):
    bench = Bench(tmp_path)
    old = bench.next()
    job = bench.searched(algorithm=algorithm, screen=True, canonical=True)
    job.start()
    assert job.wait(300) and job.of(bench.pair)
    before = (job.report, job.progress(), job.share, job.unit_kind, job.units)
    assert job.pair is old() and bench.stability(job, orders=1, bootstraps=0, retains=())
    bench.next()
    assert old() is None and bench.jobs() == [job]
    assert (job.report, job.progress(), job.share, job.unit_kind, job.units) == before
    assert job.state == "done" and not job.of(bench.pair)
    with pytest.raises(PairError, match=f"no longer loaded; .* the run {job.id}"):
        job.pair  # noqa: B018
    again = SearchJob(bench.pair, prompt_set(), job.settings, bench.store, job.id)
    assert again.run().units == job.report.units, "the remedy that the message names"


def test_a_search_that_failed_lets_its_pair_go_too(tmp_path):
    bench = Bench(tmp_path)
    old = bench.next(Planting(4, (1,), inhibitor=2, antidote=3))
    job = bench.searched(max_new_tokens=1)
    job.start()
    assert job.wait(300) and isinstance(job.error, NothingToLocalize)
    bench.next()
    assert old() is None and "nothing to localize" in str(job.error)


def test_a_search_under_way_keeps_its_pair_to_its_end(tmp_path):
    bench = Bench(tmp_path)
    old = bench.next()
    job = bench.searched()
    job.control.pause()
    job.start()
    bench.next()
    assert old() is job.pair
    job.control.resume()
    assert job.wait(300) and job.report.layers == AND.needed
    gc.collect()
    assert old() is None


def test_the_screen_reads_an_ended_search_whose_pair_is_gone(tmp_path):
    bench = Bench(tmp_path)
    dashboard = Dashboard(bench)
    old = bench.next()
    job = bench.searched()
    report = job.run()
    tail = SearchStatus(dashboard, [None] * 13)
    whole = tail.view(job, ())
    look = measurements["found-pairs"]
    record = look.measure(Call(bench, look.settings(), job=job))
    shown = drawn(look.describe(record))
    bench.next()
    assert old() is None
    assert tail.view(job, ())[:3] == whole[:3] and f"{100 * job.share.fraction:.0f}" in whole[0]
    assert drawn(look.describe(record)) == shown and report.units == job.units[1:2] + job.units[4:5]
    for name in offered():
        with pytest.raises(DapaError, match="loaded"):
            one = measurements[name]
            one.measure(Call(bench, one.settings(), job=job))
            pytest.fail(f"{name} measured another pair")


def test_a_measurement_that_ended_forgets_how_it_was_made():
    class Thing:
        pass

    thing = Thing()
    seen, tasks = weakref.ref(thing), Tasks()

    def work(told, stop, held=thing):
        return "measured"

    task = tasks.begin("a", "b", work)
    del work, thing
    assert task.wait(60)
    gc.collect()
    assert seen() is None and tasks.of("a", "b").result == "measured"


def test_loading_a_pair_frees_the_previous_one(tmp_path):
    bench = Workbench(tmp_path)
    old = weakref.ref(bench.load(bench.spec("toy-gate")))
    bench.generate("how do i thank my neighbor", Mask.of([Unit(3)]))
    bench.load(bench.spec("toy-mlp"))
    assert old() is None
