"""What is said of a result is what certificate, reserve and whole replies bear together."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from searched import AND, OR, planted_pair, prompt_set, searched
from test_driver import UNITS, drive, needs

from dapa.cli.searching import told
from dapa.core.records import Mask, Rate, SearchResult, Unit
from dapa.core.statistics import blended_rate
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.questions import Score
from dapa.search.engine.claim import claim_of
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.engine.report import SearchReport
from dapa.search.job import SearchJob
from dapa.search.settings import SearchRules, SearchSettings
from dapa.search.setup import divided, found_elsewhere
from dapa.search.smaller import smaller_sets
from dapa.search.stability import stability
from dapa.store.database import digest
from dapa.store.looks import look, looks
from dapa.store.runs import Store
from dapa.ui.session import fresh
from dapa.ui.tabs.search import result
from dapa.workbench import EvaluationSettings, Workbench
from dapa.writing.claims import (
    basis_text,
    headline,
    larger_text,
    smaller_text,
    standing,
    target_text,
)
from dapa.writing.numbers import plain
from dapa.writing.sentences import role_text


def without_five_refuses_in_the_end(mask, prompt, mode):
    """By openings 3 and 5 are needed; whole replies refuse without 5 too."""
    return 3 in mask.layers and (5 in mask.layers or mode == "full")


def page(report):
    return result.draw(report, "gate", 12, 0.1)


# -- the certificate and the card agree -----------------------------------------------------------


def test_a_removal_that_still_refuses_by_whole_replies_is_not_firm_and_the_claim_falls():
    report = drive(without_five_refuses_in_the_end).run()
    assert report.layers == (3, 5) and report.one_minimal, "the openings' word stays on record"
    assert not report.claimed.one_minimal and report.claimed.contradicted == (Unit(5),)
    assert {r.unit.layer: r.firm for r in report.removals} == {3: True, 5: False}
    body = report.as_dict()
    assert body["one_minimal"] is True and body["claim"]["one_minimal"] is False
    assert body["claim"]["contradicted"] == ["5.gate"]
    html = page(report)
    assert "1 firm, 1 undecided" in html and "without layer 5" in html
    assert "The set is 1-minimal" not in html and "not shown to be 1-minimal" in html
    assert "the best set so far" in html


def test_the_reserve_cannot_make_firm_what_whole_replies_contradict():
    reserve = Workload(40, PredicateRunner(needs(3, 5)), Notebook())
    report = drive(without_five_refuses_in_the_end, reserve=reserve).run()
    five = report.removals[1]
    assert five.p_value < 1e-9 and not five.firm and report.claimed.undecided == (Unit(5),)


def test_a_set_that_misses_the_target_by_whole_replies_is_not_called_1_minimal():
    report = drive(lambda m, p, mode: {3, 5} <= set(m.layers) and (mode != "full" or p > 5)).run()
    assert report.one_minimal and report.claimed.reached is False
    assert not report.claimed.one_minimal and "itself misses the target" in page(report)


def test_where_whole_replies_agree_the_claim_is_the_certificate_s():
    report = drive(needs(3, 5)).run()
    assert report.claimed.sure and report.claimed.reached is True
    assert "1-minimal, all 2 removals firm" in page(report)


def test_without_whole_replies_the_claim_rests_on_openings_and_says_so():
    report = drive(without_five_refuses_in_the_end, full_length=False).run()
    assert report.claimed.one_minimal and report.claimed.reached is None
    assert "Firm by openings" in page(report)


def test_an_older_run_s_claim_falls_as_well():
    body = drive(without_five_refuses_in_the_end).run().as_dict()
    del body["claim"]
    for line in body["removals"]:
        line["firm"] = True
        del line["basis"], line["whole"]
    old = SearchReport.from_dict(body)
    assert old.as_dict() == body and old.claimed.undecided == (Unit(5),)
    assert not old.claimed.one_minimal and page(old).count("◇ undecided") == 1


def test_screen_and_command_line_say_the_same_of_a_planted_pair():
    job = searched()
    said = " ".join(str(part) for part in told(job, job.report))
    claim = job.report.claimed
    for words in (standing(claim), target_text(claim, job.report.target)[8:]):
        assert words in said
    assert "The set is 1-minimal" in said and "fragile" not in said + page(job.report)


# -- firm and undecided ---------------------------------------------------------------------------


def test_eighteen_undecided_removals_are_never_called_1_minimal():
    """As on a real pair: one firm removal of nineteen, the others miss the target by little."""
    units = tuple(Unit(layer) for layer in range(19))

    def says(mask, prompt, mode):
        return 0 in mask.layers and (prompt >= 19 or not prompt or prompt in mask.layers)

    split = Workload(19, PredicateRunner(says), Notebook())
    report = Driver(
        algorithms["greedy-backward"](seed=0), units, split, settings=SearchRules(retain=1.0)
    ).run()
    assert report.one_minimal and len(report.removals) == 19
    assert headline(report.claimed) == "1 firm, 18 undecided"
    words = standing(report.claimed) + page(report)
    assert "set is 1-minimal" not in words and "1 firm, 18 undecided" in words


def test_a_removal_that_gains_on_the_reserve_is_not_shown_to_lose():
    reserve = Workload(40, PredicateRunner(lambda m, p, mode: m.layers == (3,)), Notebook())
    report = drive(needs(3, 5), reserve=reserve).run()
    gains = next(r for r in report.removals if r.unit.layer == 5)
    assert gains.p_value < 1e-9 and not gains.firm


def test_firm_rests_on_the_reserve_alone_and_says_what_it_used():
    """The search prompts lose everything, the reserve nothing: no removal is firm."""
    reserve = Workload(30, PredicateRunner(lambda m, p, mode: bool(m.layers)), Notebook())
    report = drive(needs(3, 5), reserve=reserve).run()
    assert not any(r.firm for r in report.removals) and report.one_minimal
    assert {(r.basis, r.more) for r in report.removals} == {("reserve", 30)}
    assert "the 30 prompts of the reserve, which chose nothing" in basis_text(report.removals)
    none = drive(needs(3, 5)).run()
    assert "40 search prompts, which chose the set" in basis_text(none.removals)


# -- the target's own uncertainty -----------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_blend_of_none_or_all_is_one_rate_s_wilson_interval(pairs):
    before, after = zip(*pairs, strict=True)
    for share, row in ((0.0, before), (1.0, after)):
        rate = blended_rate(before, after, share)
        plain = stats.binomtest(sum(row), len(row)).proportion_ci(method="wilson")
        assert (rate.value, rate.n) == (pytest.approx(sum(row) / len(row)), len(row))
        assert (rate.low, rate.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


def test_the_target_s_interval_covers_its_true_value():
    """Student 10 %, full 80 %, correlated pairs: 2,000 draws of 60 prompts, by numpy alone."""
    draw = np.random.default_rng(1)
    luck = draw.random((2000, 60))
    noise = draw.random((2000, 60))
    before = luck < 0.1
    after = np.where(noise < 0.5, luck < 0.8, draw.random((2000, 60)) < 0.8)
    truth = 0.1 + 0.9 * 0.7
    held = [
        rate.low <= truth <= rate.high
        for a, b in zip(before, after, strict=True)
        for rate in [blended_rate(a.tolist(), b.tolist(), 0.9)]
    ]
    assert 0.93 <= float(np.mean(held)) <= 0.98


def test_a_relative_target_has_an_interval_and_a_given_one_has_none():
    relative = drive(needs(3, 5)).run()
    rate = relative.claimed.target
    assert rate is not None and rate.value == pytest.approx(relative.target)
    assert rate.low < rate.value <= rate.high and "[" in target_text(relative.claimed, 0.9)
    given_one = drive(needs(3, 5), target=0.8).run()
    assert given_one.claimed.target is None
    assert target_text(given_one.claimed, 0.8).replace("\u202f", " ") == "target 80 %"


# -- sets of fewer units --------------------------------------------------------------------------


def misled(units):
    """An algorithm that sees a smaller set satisfy and ends with a larger one."""
    yield Score((Mask.of([Unit(3)]),))
    yield Score((Mask.of([Unit(4)]),))
    return SearchResult((Unit(5), Unit(6)), False)


def test_a_smaller_set_that_the_search_saw_satisfy_is_offered_with_its_held_out_rate():
    def says(mask, prompt, mode):
        return 3 in mask.layers or {5, 6} <= set(mask.layers)

    def held(mask, prompt, mode):
        return len(mask) > 1 or (3 in mask.layers and prompt < 15)

    known = [("ddmin, run x", Mask.of([Unit(3, "gate")])), ("other", Mask.of([Unit(9)]))]
    driver = Driver(
        misled, UNITS, Workload(40, PredicateRunner(says), Notebook()),
        held_out=Workload(20, PredicateRunner(held), Notebook()), elsewhere=known,
    )  # fmt: skip
    report = driver.run()
    (one,) = report.smaller
    assert one.units == (Unit(3),) and one.source == "this search", "9 alone does not satisfy"
    assert one.tried == 1 and (one.held_out.value, one.held_out.n) == (0.75, 20)
    again = SearchReport.from_dict(report.as_dict())
    assert again.smaller == report.smaller and again.as_dict() == report.as_dict()
    words = smaller_text(report.smaller).replace("\u202f", " ")
    assert "also layer 3: 75 %" in words and "(held-out rates, the only one tried)" in words
    assert "also layer 3" in page(report)
    assert not {"smallest", "minimum"} & set(page(report).lower().split())


def test_the_interval_of_an_offered_set_pays_for_how_many_were_tried():
    known = [(f"run {x}", Mask.of([Unit(x)])) for x in range(5)]
    any_unit = PredicateRunner(lambda m, p, mode: bool(m.layers))
    driver = Driver(
        misled, UNITS, Workload(40, any_unit, Notebook()),
        held_out=Workload(20, PredicateRunner(lambda m, p, mode: p < 16), Notebook()),
        elsewhere=known,
    )  # fmt: skip
    offered = driver.run().smaller
    assert len(offered) == 3 and {one.tried for one in offered} == {3}
    assert "of 3 tried, each interval widened for the 3" in smaller_text(offered)
    plain = stats.binomtest(16, 20).proportion_ci(1 - 0.05 / 3, "wilson")
    for one in offered:
        assert (one.held_out.low, one.held_out.high) == (
            pytest.approx(plain.low), pytest.approx(plain.high)
        )  # fmt: skip


def test_a_second_search_of_the_same_prompts_offers_what_the_first_one_found(tmp_path):
    store, prompts = Store(tmp_path), prompt_set()
    first = SearchJob(planted_pair(AND), prompts, SearchSettings(max_new_tokens=12), store)
    first.run()
    more = SearchSettings(max_new_tokens=12, algorithm="random-k")
    report = SearchJob(planted_pair(AND), prompts, more, store).run()
    offered = [one for one in report.smaller if one.units == first.report.units]
    assert len(report.units) <= 2 or offered[0].source == f"bisect, run {first.id}"
    made = store.run(first.id).settings["made"]
    assert (1, 4) in {mask.layers for _, mask in found_elsewhere(store, more, made)}
    assert found_elsewhere(store, more, made | {"prompts": "others"}) == ()


def test_claims_of_nothing_claim_nothing():
    nothing = claim_of((), False, (), ())
    assert not nothing.sure and headline(nothing) == "" and "not shown" in standing(nothing)
    assert smaller_text(()) == "" and basis_text(()) == ""
    assert replace(nothing, target=Rate(0.9, 0.8, 1.0, 40)).as_dict()["target"]["n"] == 40


def test_the_strip_knows_which_run_chose_what_is_pressed():
    class Shape:
        n_layers = 6
        differs = {"gate": range(6)}

    found = Mask.of([Unit(1), Unit(4)])
    now = fresh(0, Shape()).holding(Shape(), found, "gate", "run-1")
    assert now.chosen_by == "run-1" and replace(now, strength=0.5).chosen_by == "run-1"
    assert now.press(Mask.of([Unit(1)])).chosen_by == "" and fresh(0, Shape()).chosen_by == ""
    assert now.press(Mask.of([Unit(1)])).undo().chosen_by == "run-1"


def test_stability_offers_a_smaller_set_that_another_order_met_with_its_held_out_rate():
    def says(mask, prompt, mode):
        return {1, 4} <= set(mask.layers) or {3} <= set(mask.layers)

    split = Workload(30, PredicateRunner(says), Notebook())
    told_of = stability(split, UNITS[:8], "ddmin-complement", orders=16, bootstraps=0)
    rest = Workload(20, PredicateRunner(lambda m, p, mode: says(m, p, mode) and p), Notebook())
    found = Mask.of([Unit(1), Unit(4)])
    (one,) = smaller_sets(split, rest, 30, found, told_of.seen())
    assert one.units == (Unit(3),) and one.source.startswith("stability") and one.tried == 1
    assert (one.held_out.value, one.held_out.n) == (0.95, 20)
    assert smaller_sets(split, rest, 30, found, told_of.seen(), (one,)) == ()
    assert smaller_sets(split, rest, 30, found, ()) == ()
    report = drive(needs(1, 4)).run()
    words = result.draw(report, "gate", 12, 0.1, also=(one,))
    assert "also layer 3" in words and "the only one tried" in words


def test_a_finished_search_s_stability_keeps_what_it_offers():
    job = searched(OR)
    bench = Workbench(job.store.folder, job.pair)
    told_of = bench.stability(job, orders=8, bootstraps=0, retains=())
    fewer = [mask for _, mask in told_of.seen() if len(mask) < len(job.report.units)]
    assert bool(told_of.smaller) == bool(fewer)
    assert [len(one.units) for one in told_of.smaller] == [1] * len(told_of.smaller)
    assert told_of.as_dict()["smaller"] == [one.as_dict() for one in told_of.smaller]


@dataclass(frozen=True)
class Larger:
    added: tuple[Unit, ...]
    firm: bool


def test_only_a_loss_beyond_chance_says_that_more_is_not_always_better():
    chance, sure = Larger((Unit(5),), False), Larger((Unit(6), Unit(7)), True)
    told = larger_text(12, [chance])
    assert told.startswith("Of 12 larger sets tried, 11 reach the target; adding layer 5 falls")
    assert "no more than chance" in told and "not always better" not in told
    both = larger_text(12, [chance, sure])
    assert "More is not always better" in both and "adding layers 6, 7 undoes it" in both
    assert "layer 5" not in both, "what chance may explain is not named beside what it cannot"
    assert "All 4 larger sets" in larger_text(4, []) and larger_text(0, []) == ""
    many = Larger(tuple(map(Unit, range(9))), True)
    assert "adding 9 units together undoes it" in larger_text(2, [many])


# -- locked, and looked at ------------------------------------------------------------------------


def test_a_locked_part_is_taken_only_where_fifty_prompts_are_left():
    some, many = prompt_set(60), prompt_set(100)
    assert divided(some, 0, None, lock=True).locked == ()
    parts = divided(many, 0, None, lock=True)
    assert 0 < len(parts.locked) <= 20, "whole groups of near-duplicates, as far as they fit"
    assert {p.split for p in parts.locked} == {"held_out"}
    assert len(parts.every) == len({p.text for p in parts.every}) == 100
    assert divided(many, 0, None).locked == (), "only where it is asked for"
    plain = replace(many, prompts=tuple(replace(p, split="") for p in many.prompts))
    parts = divided(plain, 0, None, lock=True)
    assert 0 < len(parts.locked) <= 20 and len(parts.every) == 100


def test_locked_prompts_estimate_the_result_once_and_change_nothing_else():
    asked = PredicateRunner(lambda m, p, mode: {3, 5} <= set(m.layers) and p < 9)
    locked = Workload(10, asked, Notebook())
    split = Workload(40, PredicateRunner(needs(3, 5)), Notebook())
    report = Driver(algorithms["bisect"](seed=0), UNITS, split, locked=locked).run()
    without = drive(needs(3, 5)).run()
    told = {name: rate.value for name, rate in report.rates.items() if rate and "locked" in name}
    assert told == {"locked": 0.9, "full_locked": 0.9, "student_locked": 0.0}
    assert report.claimed == without.claimed and report.units == without.units
    assert len(asked.finished) == 30, "three masks, each prompt once"
    assert "locked, once" in page(report) and "locked" not in page(without)
    assert not any("locked" in name for name in without.rates)


def test_a_search_locks_prompts_away_and_evaluation_leaves_them_out(tmp_path):
    bench = Workbench(tmp_path, planted_pair(AND))
    bench.prompts = lambda *_: replace(
        prompt_set(100), prompts=tuple(replace(p, split="") for p in prompt_set(100).prompts)
    )
    bench._find = lambda source, role, column=None: bench.prompts() if role == "harmful" else None
    job = bench.search_job(SearchSettings(max_new_tokens=12, lock=True))
    report = job.run()
    assert report.rates["locked"].n == len(job.locked) > 0
    asked = EvaluationSettings(mask=report.mask.key, run=job.id)
    sets = bench.asked_sets(asked)
    hidden = {p.text for p in job.locked}
    assert {p.text for p in sets["dsr"]} == {p.text for p in job.held_out}
    assert not hidden & {p.text for prompts in sets.values() for p in prompts}
    assert not hidden & {p.text for p in (*job.prompts, *job.held_out)}


def test_looks_at_a_held_out_set_are_counted_by_job_pair_and_set(tmp_path):
    store = Store(tmp_path)
    assert looks(store, "pair", ["a", "b"]) == 0
    assert look(store, "pair", ["a", "b"], "search 1") == 1
    assert look(store, "pair", ["b", "a"], "search 1") == 1, "the same job, the same set"
    assert look(store, "pair", ["a", "b"], "dose 1") == 2
    assert looks(store, "pair", ["c"]) == looks(store, "other", ["a", "b"]) == 0
    assert looks(store, "pair", ["a"]) == 2, "of a set that was looked at, a part is not fresh"
    assert look(store, "pair", ["b", "c"], "evaluation 1") == 3
    store.rate(f"look {digest('pair', ['a', 'b'])}", "search 0", {})  # as an older version kept it
    assert looks(store, "pair", ["b", "a"]) == 4


def test_evaluating_a_sample_of_what_a_search_held_out_is_a_second_look(tmp_path):
    bench = Workbench(tmp_path, planted_pair(AND))
    bench.prompts = lambda *_: prompt_set()
    bench._find = lambda source, role, column=None: bench.prompts() if role == "harmful" else None
    job = bench.search_job(SearchSettings(max_new_tokens=12))
    report = job.run()
    assert report.looks == 1
    asked = EvaluationSettings(
        mask=report.mask.key, run=job.id, sets=("dsr",), prompt_limit=2, perplexity=False
    )
    table = bench.evaluation(replace(asked, max_new_tokens=12))
    assert len(bench.asked_sets(asked)["dsr"]) == 2 < len(job.held_out)
    assert any("looked at 2 times" in note for note in table.notes), table.notes


def test_a_result_says_how_often_its_held_out_set_was_looked_at(tmp_path):
    bench = Workbench(tmp_path, planted_pair(AND))
    bench.prompts = lambda *_: prompt_set()
    first = bench.search_job(SearchSettings(max_new_tokens=12))
    assert first.run().looks == 1
    bench.necessity(first, controls=0, singles=False)
    again = bench.search_job(SearchSettings(max_new_tokens=12, algorithm="ddmin"))
    assert again.run().looks == 3 and "looked at 3 times" in page(again.report)
    assert "looked at 3 times" in " ".join(map(str, told(again, again.report)))


def test_a_search_that_is_opened_again_is_no_new_look(tmp_path):
    bench = Workbench(tmp_path, planted_pair(AND))
    bench.prompts = lambda *_: prompt_set()
    first = bench.search_job(SearchSettings(max_new_tokens=12))
    assert first.run().looks == 1
    again = bench.search_job(first.settings)
    assert again.run().looks == 1 and again.id != first.id and again.report.costs.all_recalled


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("student", "student, search prompts"),
        ("best", "found set, search prompts"),
        ("full_held_out", "every unit, held out"),
        ("held_out", "found set, held out"),
        ("locked", "found set, locked, asked once"),
        ("student_locked", "student, locked, asked once"),
    ],
)
def test_the_terminal_names_whose_rate_it_is_and_on_which_prompts(role, told):
    assert role_text(role) == told


@pytest.mark.parametrize(
    "value, told",
    [
        (5.65e-05, "< 0.001"),
        (-5.65e-05, "> -0.001"),
        (0.0, "0"),
        (0.0123456, "0.0123"),
        (1234.5, "1,234"),
        (2.5e6, "2,500,000"),
    ],
)
def test_a_plain_figure_has_no_exponent(value, told):
    assert plain(value) == told


@given(st.floats(-1e12, 1e12))
def test_no_figure_has_an_exponent_or_reads_as_nothing_where_there_is_something(value):
    told = plain(value)
    assert "e" not in told and (told in ("0", "-0")) == (value == 0)
