"""The fast screen orders and never decides; how far it is right is measured, with doubt."""

import tempfile

import numpy as np
import pytest
from searched import AND, prompt_set, searched

from dapa.core.records import EMPTY, Label, Mask, Unit, Verdict
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.questions import First
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.fast_screen import FastScreen, rank_biserial, screened
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.predicate import PredicateRunner, play
from dapa.search.job import SearchJob
from dapa.search.settings import SearchRules, SearchSettings
from dapa.store.runs import Store

UNITS = tuple(Unit(layer) for layer in range(8))


def reading(asked=None, sign=1.0):
    """Log-odds that grow with the mask and with the prompt's number."""

    def odds(masks, prompts):
        if asked is not None:
            asked.append((tuple(masks), tuple(prompts)))
        return np.array([[sign * (len(m) - 4 + p / 100) for p in prompts] for m in masks])

    return odds


def test_each_mask_is_read_once():
    asked = []
    screen = FastScreen(reading(asked), 4)
    masks = [Mask.of(UNITS[:3]), EMPTY]
    first = screen.odds(masks, [0, 1])
    assert np.array_equal(screen.odds(masks, [0, 1]), first) and len(asked) == 1
    screen.odds([EMPTY], [1, 2])
    assert len(asked) == 2


def test_prompts_that_the_full_mask_hardly_refuses_come_first():
    assert FastScreen(reading(), 5).lead(Mask.of(UNITS)) == [0, 1, 2, 3, 4]
    assert FastScreen(reading(sign=-1.0), 5).lead(Mask.of(UNITS)) == [4, 3, 2, 1, 0]
    ledger = Ledger(3)
    ledger.lead = {0: 2, 1: 1, 2: 0}
    assert ledger.telling() == [2, 1, 0]
    ledger.add(EMPTY, 0, Verdict(Label.COMPLIANCE, "j"))
    assert ledger.telling() == [0, 2, 1]  # a verdict outweighs the screen


def test_candidates_are_asked_by_promise_and_the_answer_finds_its_way_back():
    small, large = Mask.of(UNITS[:1]), Mask.of(UNITS[:6])
    told = []

    def search(units):
        told.append((yield First((small, large))))
        told.append((yield First((small, large))))
        return None

    steps = screened(search, FastScreen(reading(), 4))(UNITS)
    assert next(steps).masks == (large, small)
    assert steps.send(0).masks == (large, small)  # the large one satisfied
    with pytest.raises(StopIteration):
        steps.send(None)
    assert told == [1, None]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", list(algorithms))
def test_a_right_or_a_wrong_screen_changes_the_order_and_no_verdict(name, sign):
    need = {Unit(2), Unit(5)}
    screen = FastScreen(reading(sign=sign), 4)
    result, _ = play(screened(algorithms[name](), screen), UNITS, need.issubset)
    plain, _ = play(algorithms[name](), UNITS, need.issubset)
    assert result.one_minimal == plain.one_minimal and need <= set(result.units)
    if result.one_minimal:
        assert set(result.units) == need


def test_rank_biserial_counts_pairs_and_halves_ties():
    assert rank_biserial(np.array([3.0, 1.0]), np.array([True, False])) == 1.0
    assert rank_biserial(np.array([1.0, 3.0]), np.array([True, False])) == -1.0
    assert rank_biserial(np.array([2.0, 2.0]), np.array([True, False])) == 0.0
    assert np.isnan(rank_biserial(np.array([2.0, 2.0]), np.array([True, True])))


def drive(**chosen):
    need = {Unit(2), Unit(5)}
    split = Workload(
        20, PredicateRunner(lambda mask, p, mode: need <= set(mask), rows=4), Notebook()
    )
    return Driver(algorithms["ddmin"](), UNITS, split, **chosen)


def test_the_report_holds_the_screens_correlation_with_its_interval():
    body = drive(screen=reading()).run().as_dict()
    told = body["screen"]
    assert 0 < told["value"] <= 1 and told["low"] <= told["value"] <= told["high"]
    assert told["n"] == told["masks"] * 16 and "screen" in body["phases"]
    assert drive().run().screen is None


def test_a_stopped_search_is_not_kept_waiting_for_it():
    driver = drive(screen=reading(), settings=SearchRules())
    driver.control.stop()
    assert driver.run().screen is None


def test_a_search_of_a_pair_screens_by_default_and_finds_the_same_without():
    def run(**chosen):
        settings = SearchSettings(max_new_tokens=12, **chosen)
        return SearchJob(searched().pair, prompt_set(), settings, Store(tempfile.mkdtemp())).run()

    seen, blind = run(), run(screen=False)
    assert seen.layers == blind.layers == AND.needed
    assert seen.screen["value"] == 1.0 and blind.screen is None
