"""Optimizations change what a search costs, never what it says."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.judges.base import judges
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.optimizations import PLAIN, Optimizations, Work
from dapa.model.decode.serving import serve
from dapa.model.template import encode, render
from dapa.planted.pairs import Planting, harmful_prompts, plant
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.algorithms import algorithms
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.settings import SearchRules

SYSTEM = "show me step by step"
NAMES = ("leave", "refill", "settle", "reuse", "share")


class Searched:
    """A pair with prompts, to be searched again and again."""

    def __init__(self, planting, family="llama", seed=0, count=10, system=""):
        self.pair = plant(planting, family, seed).pair()
        self.texts = harmful_prompts(count, seed)
        how = PromptFormat(system=system)
        rendered = [render(self.pair, [Turn("user", text)], how) for text in self.texts]
        self.ids = [encode(self.pair, text, how) for text in rendered]

    def runner(self, optimizations, rows=None):
        opening, full = judges["opening"](), judges["rules"]()
        return PairRunner(self.pair, self.texts, self.ids, opening, full, 12, rows, optimizations)

    def run(self, optimizations=None, algorithm="ddmin-complement", rows=None, **rules):
        memory, runner = Notebook(), self.runner(optimizations or Optimizations(), rows)
        driver = Driver(
            algorithms[algorithm](seed=0),
            self.pair.units("gate"),
            Workload(len(self.texts), runner, memory),
            settings=SearchRules(**{"supersets": 1, **rules}),
        )
        return driver.run(), memory, runner


PLAINLY = dict(optimizations=PLAIN, curtail=False, eager=False, lookahead=0, memo=False)


def questions(report):
    """What was asked and answered, in order; counts beside the answer depend on curtailment."""
    return [(t.outcome.mask, t.outcome.satisfied) for t in report.trials if t.phase == "search"]


def agree(one, two):
    """The same search, and where both decoded the same job, the same reply as far as both went."""
    (a, mine, _), (b, theirs, _) = one, two
    assert (a.units, a.one_minimal, a.target) == (b.units, b.one_minimal, b.target)
    assert a.costs.tests + a.costs.memo_hits == b.costs.tests + b.costs.memo_hits
    assert questions(a) == questions(b)
    assert [(r.unit, r.outcome) for r in a.removals] == [(r.unit, r.outcome) for r in b.removals]
    assert a.rechecks == b.rechecks
    assert [v.added for v in a.violations] == [v.added for v in b.violations]
    both = mine.replies.keys() & theirs.replies.keys()
    assert both
    for key in both:
        short, long = sorted((mine.replies[key], theirs.replies[key]), key=len)
        assert long.startswith(short) and (key[0] == "opening" or short == long)
        pages = (notes.pages[key[0], key[1].mask][key[1].prompt][0] for notes in (mine, theirs))
        assert next(pages).label is next(pages).label


@pytest.fixture(scope="module")
def few(model_type):
    searched = Searched(Planting(4, (1, 2)), model_type, count=8, system=SYSTEM)
    return searched, searched.run(**PLAINLY)


@settings(max_examples=4)
@given(
    on=st.tuples(*(st.booleans() for _ in NAMES)),
    rows=st.sampled_from([None, 1, 5]),
    ahead=st.sampled_from([None, 0, 100]),
    memory=st.sampled_from([None, 0, 60_000]),
    curtail=st.booleans(),
    eager=st.booleans(),
    lookahead=st.sampled_from([0, 1, 4]),
)
def test_any_choice_of_levers_gives_the_plain_answer(
    few, on, rows, ahead, memory, curtail, eager, lookahead
):
    searched, plain = few
    optimizations = Optimizations(**dict(zip(NAMES, on, strict=True)), ahead=ahead, memory=memory)
    rules = dict(curtail=curtail, eager=eager, lookahead=lookahead)
    agree(plain, searched.run(optimizations, rows=rows, **rules))


# -- the counters ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    return Searched(Planting(5, (1, 3)), count=12, system=SYSTEM)


@pytest.mark.parametrize(
    ("optimization", "counter"), [("settle", "settled"), ("reuse", "reused"), ("share", "reused")]
)
def test_a_lever_that_is_off_saves_nothing_and_one_that_is_on_does(llama, optimization, counter):
    on, off = (
        llama.run(
            replace(PLAIN, leave=True, **{optimization: value}), rows=8, check_supersets=False
        )[2]
        for value in (True, False)
    )
    assert getattr(on.work, counter) > 0 == getattr(off.work, counter)
    if counter == "reused":
        assert on.work.prefilled + on.work.reused == pytest.approx(off.work.prefilled)


def uneven(pair, ids, optimizations):
    """Twelve rows of uneven lengths through four places; their tokens and the work."""
    rows = [Row(ids[i % len(ids)], max_new_tokens=2 + 3 * (i % 3)) for i in range(12)]
    waiting, batch = list(rows), Batch(pair, optimizations=optimizations)

    def take(room):
        new = waiting[:room]
        del waiting[:room]
        return new

    serve(batch, 4, take, lambda row: None)
    return [row.new_ids for row in rows], batch.work


def test_places_are_refilled_and_left_only_where_the_levers_say_so(llama):
    every = Optimizations()
    tokens, work = uneven(llama.pair, llama.ids, every)
    waiting, waits = uneven(llama.pair, llama.ids, replace(every, refill=False))
    staying, stays = uneven(llama.pair, llama.ids, replace(every, leave=False))
    assert tokens == waiting == staying
    assert work.refilled > 0 == waits.refilled == stays.refilled
    assert stays.idle > 0 == work.idle == waits.idle
    assert work.steps < waits.steps == stays.steps


def test_the_bill_tells_what_the_runner_did(llama):
    report, _, runner = llama.run()
    assert report.costs.work == runner.work.rounded()
    told = report.as_dict()["work"]
    assert told["prefilled"] > 0 < told["reused"] and told["decoded"] >= report.costs.tokens
    assert set(told) == {field.name for field in fields(Work)}


def test_work_adds_up_and_tells_what_came_on_top():
    a, b = Work(prefilled=1.5, decoded=3), Work(prefilled=0.25, steps=2)
    a.add(b)
    assert a == Work(prefilled=1.75, decoded=3, steps=2)
    assert a.since(b) == Work(prefilled=1.5, decoded=3)
