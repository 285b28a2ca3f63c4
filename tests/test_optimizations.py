"""Optimizations change what a search costs, never what it says."""

from dataclasses import fields, replace
from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.judges.base import judges
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.lengths import pass_cost, passes
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
NAMES = ("leave", "refill", "settle", "reuse", "share", "alike")


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


@pytest.fixture(scope="module", autouse=True)
def cheap_passes():
    """Models this small would have every prompt in one pass: let uneven ones be parted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dapa.model.decode.generation.pass_cost", lambda pair: 4)
        yield


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


def test_prompts_of_like_length_are_read_with_less_padding_to_the_same_tokens(llama):
    uneven_ids = [ids * (1 + 5 * (i % 2)) for i, ids in enumerate(llama.ids)]
    tokens, work = uneven(llama.pair, uneven_ids, Optimizations())
    together, padded = uneven(llama.pair, uneven_ids, Optimizations(alike=False))
    assert tokens == together and 0 <= work.padding < padded.padding
    assert work.prefilled == padded.prefilled


@given(
    lengths=st.lists(st.integers(1, 400), max_size=60),
    most=st.integers(1, 50),
    alone=st.integers(0, 600),
)
def test_passes_take_all_rows_in_order_for_no_more_than_full_ones_or_single_rows_would(
    lengths, most, alone
):
    def cost(sizes, lengths):
        ends = list(accumulate(sizes))
        parts = [lengths[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        return sum(alone + len(part) * max(part) for part in parts)

    lengths.sort()
    sizes = passes(lengths, most, alone)
    assert sum(sizes) == len(lengths) and all(0 < size <= most for size in sizes)
    full, left = divmod(len(lengths), most)
    for other in ([most] * full + [left] * bool(left), [1] * len(lengths)):
        assert cost(sizes, lengths) <= cost(other, lengths)
    falling = lengths[::-1]
    assert cost(passes(falling, most, alone), falling) == cost(sizes, lengths)


def test_a_pass_by_itself_costs_a_small_model_more_tokens_than_a_large_one(llama):
    small = llama.pair
    assert pass_cost(small) > 1_000 > pass_cost(SimpleNamespace(
        device=torch.device("cpu"), n_layers=30, parameters=134_515_008
    )) > 20  # fmt: skip


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
