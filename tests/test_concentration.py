"""How concentrated refusal is, on tables of verdicts whose truth is known, and on planted pairs."""

import json
import threading

import numpy as np
from searched import AND, planted_pair, prompt_set

from dapa.core.records import Mask, Unit
from dapa.measure.concentrating import Concentrating, Prompts, concentration
from dapa.measure.other_sites import Site
from dapa.measure.pair_concentration import Question, pair_concentration, price
from dapa.planted.pairs import Planting, plant
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.orders import backward, by_value, greedy, single_values
from dapa.store.runs import Store

NONE = (0.0,)


class Truth:
    """A pair as a table: a set refuses a prompt where its votes reach the prompt's threshold."""

    def __init__(self, votes, thresholds, ceiling=1.0, seed=0):
        self.votes, self.thresholds = np.array(votes, dtype=float), np.array(thresholds)
        self.units = tuple(Unit(layer) for layer in range(len(votes)))
        never = np.random.default_rng(seed).random(len(thresholds)) >= ceiling
        self.thresholds = np.where(never, np.inf, self.thresholds)

    def odds(self, masks):
        total = np.array([sum(self.votes[unit.layer] for unit in mask) for mask in masks])
        return total[:, None] - np.where(np.isinf(self.thresholds), 99, self.thresholds)[None]

    def side(self):
        def label(mask, prompt, mode):
            held = sum(self.votes[unit.layer] for unit in mask)
            return bool(held >= self.thresholds[prompt] - 1e-9)

        runner = PredicateRunner(label, rows=8)
        return Prompts(Workload(len(self.thresholds), runner, Notebook()), self.odds), runner


def asked(votes, thresholds, held_out=None, **how):
    """Both lists of prompts of one truth, along two orders."""
    search = Truth(votes, thresholds)
    held = Truth(votes, thresholds if held_out is None else held_out, seed=1)
    one, first = search.side()
    two, second = held.side()

    def orders(tell):
        single = by_value(search.units, single_values(search.units, search.odds))
        return {
            "single": single,
            "backward": backward(search.units, search.odds, single),
            "greedy": greedy(search.units, search.odds),
        }

    found = concentration(search.units, one, two, orders, Concentrating(**how))
    json.dumps(found.as_dict(), allow_nan=False)
    head, rows = found.table()
    assert rows and all(len(row) == len(head) for row in rows)
    return found, first, second


SHARP = [0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0]
"""An AND of three of twelve: only all three reach the threshold of each prompt."""


def test_a_sharp_and_is_concentrated_and_needs_its_three():
    found, _, _ = asked(SHARP, [3.0] * 60)
    assert found.verdict == ("concentrated", True) and found.where == "held-out"
    assert {one.value for one in found.main.told.needed.values()} == {3}
    assert {unit.layer for unit in found.main.order[:3]} == {2, 5, 9}
    assert found.floor == 2 and found.main.told.enough.high == 3


def test_a_sum_of_small_votes_is_spread_and_says_up_to_where():
    random = np.random.default_rng(0)
    votes, edges = random.uniform(0.5, 1.5, 24), random.normal(21, 1.5, (2, 250))
    sites = (Site("mlp"),)
    found, _, _ = asked(votes, edges[0], edges[1], sites=lambda: sites)
    assert found.verdict == ("spread", True)
    assert 12 <= found.floor < 24 and found.sites == sites
    for curve in found.curves:
        lost = [p.loss for p in curve.points if p.size <= found.floor]
        assert all(low > found.margin - 0.02 for _, low, _ in lost)


def test_a_few_strong_votes_and_many_weak_ones_are_graded():
    random = np.random.default_rng(1)
    votes = np.array([4.0] * 3 + [0.5] * 17)
    edges = random.normal(13, 0.8, (2, 200))
    found, _, _ = asked(votes, edges[0], edges[1])
    form, _ = found.verdict
    assert form == "graded" and found.floor + 1 <= found.main.told.enough.value < 20
    assert found.main.told.cpr.value > 0.2


def test_where_the_full_set_gains_nothing_nothing_more_is_asked():
    sites = (Site("attention"),)
    found, search, held = asked([0.0] * 12, [1.0] * 40, sites=lambda: sites, finer=True)
    assert found.verdict == ("nothing", True) and not found.curves and found.sites == sites
    assert len(search.finished) == len(held.finished) == 80, "the student and the full set"
    assert found.gain[0] == 0.0 and found.masks == 2
    little, _, _ = asked([1.0] * 12, [12.0] * 4 + [99.0] * 36)
    assert little.verdict[0] == "nothing" and little.gain[0] == 0.1


def test_a_gain_on_one_list_of_prompts_alone_is_nothing():
    found, _, _ = asked(SHARP, [3.0] * 60, [99.0] * 10)
    assert found.verdict == ("nothing", True) and found.least == 0.0


def test_each_set_is_decoded_once_however_many_orders_begin_with_it():
    found, search, held = asked(SHARP, [3.0] * 20)
    for runner in (search, held):
        assert len({job for _, job in runner.finished}) == len(runner.finished)
    assert len(search.finished) == found.masks * 20
    sets = {Mask.of(c.order[: p.size]) for c in found.curves for p in c.points}
    assert found.masks == len(sets)


def test_what_tells_is_the_held_out_curve_along_the_order_that_search_prompts_chose():
    random = np.random.default_rng(5)
    found, _, _ = asked(random.uniform(0, 1, 10), [2.0] * 40, [4.0] * 40)
    best = max(found.curves, key=lambda curve: curve.search.cpr.value)
    assert found.main is best and found.main.told is best.held_out
    assert found.student.n == 40 and found.main.told.enough.value > best.search.enough.value


def test_a_stop_tells_what_was_judged_and_claims_nothing():
    stop = threading.Event()
    truth = Truth(SHARP, [3.0] * 30)
    side, runner = truth.side()

    def enough(runner):
        if len(runner.finished) > 100:
            stop.set()

    runner.before = enough
    orders = {"single": by_value(truth.units, single_values(truth.units, truth.odds))}
    found = concentration(truth.units, side, None, lambda tell: orders, Concentrating(stop=stop))
    assert not found.complete and found.verdict == ("open", False)
    assert found.curves[0].points[-1].size == 12 and len(found.curves[0].points) < 8
    stop.set()
    none = concentration(
        truth.units, Truth(SHARP, [3.0] * 9).side()[0], None, dict, Concentrating(stop=stop)
    )
    assert none.student is None and none.verdict == ("open", False)


def test_without_held_out_prompts_the_search_prompts_tell_and_it_says_so():
    side, _ = Truth(SHARP, [3.0] * 30).side()
    units = Truth(SHARP, NONE).units
    found = concentration(units, side, None, lambda tell: {"single": units})
    assert found.where == "search" and found.main.held_out is None and found.held_out == 0


def test_a_planted_pair_is_measured_through_the_models_and_costs_what_was_told(tmp_path):
    pair, asked = planted_pair(), Question(max_new_tokens=12, readers=4)
    store, heard = Store(tmp_path), []
    told = price(pair, prompt_set(), asked)
    found = pair_concentration(
        pair, prompt_set(), store, asked, lambda what, share: heard.append((what, share))
    )
    assert found.verdict == ("concentrated", True)
    assert {unit.layer for unit in found.main.order[:2]} == set(AND.needed)
    assert found.main.told.needed[0.95].value == 2 and found.looks == 1
    assert all(curve.points[-1].odds > curve.points[0].odds for curve in found.curves)
    assert (told.search, told.held_out, told.units) == (12, 12, 6)
    assert found.masks <= told.sets and told.least == 48
    shares = [share for _, share in heard]
    assert shares == sorted(shares) and any("greedy" in what for what, _ in heard)
    again = pair_concentration(pair, prompt_set(), store, asked)
    assert again == found, "answered from the store"


def test_a_pair_whose_gates_are_equal_has_nothing_here_and_offers_what_differs(tmp_path):
    pair = plant(Planting(4, (1, 2))).pair()
    equal = next(kind for kind, layers in pair.differs.items() if not layers)
    found = pair_concentration(pair, prompt_set(), Store(tmp_path), Question(kind=equal))
    assert found.verdict == ("nothing", True) and found.units == ()
    assert found.sites and found.sites[0].kind in ("gate", "mlp") and found.sites[0].share > 0.5
    assert price(pair, prompt_set(), Question(kind=equal)).replies == 0
