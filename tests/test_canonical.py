"""The result judged once more in batches of one shape; what the costs tells when all is over."""

import tempfile
from copy import deepcopy

import pytest
from searched import AND, prompt_set, searched

from dapa.core.records import EMPTY, Label, Mask, Unit, Verdict
from dapa.model.pair import Pair
from dapa.planted.pairs import plant
from dapa.search.algorithms import algorithms
from dapa.search.engine.contract import Job, Notebook, Workload
from dapa.search.engine.control import Control
from dapa.search.engine.driver import Driver
from dapa.search.engine.oracle import CANONICAL_ROWS, WholeMasks, oracle
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.search.setup import batched
from dapa.store.runs import Store

UNITS = tuple(Unit(layer) for layer in range(6))
REFUSED = Verdict(Label.REFUSAL, "j")


def needs(mask, prompt, mode):
    return {Unit(1), Unit(4)} <= set(mask)


def test_every_mask_of_the_result_is_decoded_alone_and_in_plain_order():
    other = PredicateRunner(needs, rows=3)
    report = Driver(
        algorithms["bisect"](),
        UNITS,
        Workload(20, PredicateRunner(needs, rows=7), Notebook()),
        canonical=Workload(20, other, Notebook()),
    ).run()
    assert [line.role for line in report.canonical] == [line.role for line in report.rechecks]
    asked = [job for _, job in other.finished]
    blocks = [asked[i : i + 20] for i in range(0, len(asked), 20)]
    assert len(blocks) == len({job.mask for job in asked}) == 5
    for block in blocks:
        assert len({job.mask for job in block}) == 1
        assert [job.prompt for job in block] == list(range(20))


def test_verdicts_that_hang_on_the_batch_are_told():
    def frail(mask, prompt, mode):
        return needs(mask, prompt, mode) and prompt >= 3

    report = Driver(
        algorithms["bisect"](),
        UNITS,
        Workload(20, PredicateRunner(needs), Notebook()),
        canonical=Workload(20, PredicateRunner(frail), Notebook()),
    ).run()
    lines = {line.role: line for line in report.canonical}
    assert lines["best"].lost == 3 and lines["best"].gained == 0
    assert not lines["best"].satisfied and lines["student"].lost == 0
    assert report.rates["best"].value == 0.85  # the reported rate is the canonical one
    assert report.as_dict()["canonical"][0]["lost"] == 3


def test_a_mask_is_remembered_whole_or_not_at_all():
    base = Notebook()
    memory = WholeMasks(base, 2)
    memory.commit("full", Job(EMPTY, 0), REFUSED, "no", 3)
    assert memory.recall("full", EMPTY) == {} and not base.pages
    memory.commit("full", Job(EMPTY, 1), REFUSED, "no", 3)
    assert set(memory.recall("full", EMPTY)) == {0, 1}


def run(pair, **chosen):
    settings = SearchSettings(max_new_tokens=12, **chosen)
    return SearchJob(pair, prompt_set(), settings, Store(tempfile.mkdtemp())).run()


def test_float32_is_judged_again_only_where_that_is_asked_for():
    pair = searched().pair
    assert not batched(pair) and run(pair).canonical == ()
    again = run(pair, canonical=True)
    assert {line.role for line in again.canonical} == {"best", "student", "full", "removal"}
    assert all(line.lost == line.gained == 0 for line in again.canonical)


def test_bfloat16_is_judged_again_unless_that_is_refused():
    models = plant(AND)
    halves = [deepcopy(m).bfloat16() for m in (models.student, models.teacher)]
    spec = searched().pair.spec
    pair = Pair(*halves, models.tokenizer, models.tokenizer, models.family, spec, "half")
    assert batched(pair)
    assert run(pair).canonical and run(pair, canonical=False).canonical == ()


def test_the_canonical_memory_is_another_than_the_searchs():
    job = searched()
    limit, how = job.settings.max_new_tokens, job.settings.format()
    plain = oracle(job.pair, job.prompts, how, limit, job.store)
    shaped = oracle(job.pair, job.prompts, how, limit, job.store, canonical=True)
    assert shaped.runner.capacity == CANONICAL_ROWS
    found = job.report.mask
    assert plain.memory.recall("full", found) and not shaped.memory.recall("full", found)


class Clock:
    """Two seconds a look."""

    now = 0.0

    def __call__(self):
        self.now += 2.0
        return self.now


def test_the_bill_tells_gpu_seconds_and_how_far_the_eta_was_off():
    clock = Clock()
    driver = Driver(
        algorithms["ddmin"](),
        UNITS,
        Workload(20, PredicateRunner(needs, rows=7), Notebook()),
        control=Control(clock),
        clock=clock,
        devices=2,
    )
    assert driver.snapshot().costs.eta_error is None
    costs = driver.run().costs
    assert costs.gpu_seconds == pytest.approx(2 * costs.seconds, rel=0.01)
    assert costs.eta_error is not None and 0 <= costs.eta_error < 5
    assert searched().report.costs.gpu_seconds == 0.0
    assert Mask.of(UNITS) != EMPTY
