"""The rules of a confidence search over tables of verdicts: no model, no torch."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from dapa.bench.confidence_rows import KINDS, score
from dapa.core.records import Mask, Prompt, Unit
from dapa.core.statistics import (
    p_inferior,
    p_noninferior,
    paired_gain_counts,
    rate_difference,
    tango_score,
    wilson,
)
from dapa.search.confidence.certify import Certifying, certify, floor
from dapa.search.confidence.course import Course, answered, confident
from dapa.search.confidence.plan import divide, margin_of, plan_of, power_holds
from dapa.search.confidence.questions import Freeze, Frozen, JudgeMasks, ReadMasks, thin
from dapa.search.confidence.reading import TRUST, TRUST_SETS, CurveReader
from dapa.search.confidence.truths import Truth, TruthShape, VerdictTable, searched
from dapa.writing.certified import chosen_text
from dapa.writing.confidence import headline

UNITS = tuple(Unit(layer) for layer in range(12))


def test_tangos_score_rests_on_the_constrained_likelihood():
    for gained, lost, n, delta in ((3, 9, 60, -0.05), (0, 4, 100, -0.1), (6, 2, 40, -0.05)):
        both = n - gained - lost

        def against(q, gained=gained, lost=lost, both=both, delta=delta):
            cells = (q + delta, q, 1 - 2 * q - delta)
            if min(cells) <= 0:
                return 1e9
            return -sum(k * math.log(p) for k, p in zip((gained, lost, both), cells, strict=True))

        q = optimize.minimize_scalar(
            against, bounds=(-delta + 1e-9, (1 - delta) / 2 - 1e-9), method="bounded",
            options={"xatol": 1e-12},
        ).x  # fmt: skip
        variance = n * (2 * q + delta - delta**2)
        expected = (gained - lost - n * delta) / math.sqrt(variance)
        assert tango_score(gained, lost, n, delta) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("n", "margin"), [(125, 0.05), (250, 0.05), (100, 0.1)])
def test_the_noninferiority_test_keeps_its_level_by_exact_enumeration(n, margin):
    """At a true loss of exactly the margin, whatever number of prompts changes the other way."""
    for gain in (0.0, 0.02, 0.05, 0.1):
        level = {0.005: 0.0, 0.045: 0.0}
        for gained in range(int(n * gain + 8 * math.sqrt(n * gain + 1)) + 1):
            first = stats.binom.pmf(gained, n, gain)
            rest = (gain + margin) / (1 - gain)
            for lost in range(n - gained + 1):
                chance = first * stats.binom.pmf(lost, n - gained, rest)
                if chance < 1e-12:
                    continue
                p = p_noninferior(gained, lost, n, margin)
                level = {at: total + chance * (p <= at) for at, total in level.items()}
        assert level[0.045] <= 0.055 and level[0.005] <= 0.010, (gain, level)


def test_the_two_tests_mirror_each_other_and_fit_the_interval():
    for gained, lost in product((0, 2, 7), (0, 3, 12)):
        p, q = p_noninferior(gained, lost, 120, 0.05), p_inferior(gained, lost, 120, 0.05)
        assert p + q == pytest.approx(1)
        _, low, _ = paired_gain_counts(gained, lost, 120, level=0.9)
        assert (p < 0.05) == (low > -0.05)
    assert p_noninferior(0, 0, 0, 0.05) == 1
    with pytest.raises(ValueError, match="margin"):
        p_noninferior(0, 0, 10, 0.0)


def test_newcombes_difference_is_the_published_example():
    """56/70 against 48/80: Newcombe 1998, example a, method 10."""
    value, low, high = rate_difference(wilson(56, 70), wilson(48, 80))
    assert (round(value, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


def test_margins_follow_the_prompts_that_certify():
    assert [margin_of(n) for n in (99, 100, 199, 200, 900)] == [None, 0.1, 0.1, 0.05, 0.05]
    assert margin_of(100, "quick") == margin_of(400, "quick") == 0.1
    assert plan_of(30, 60, 0, 40, 0).margin is None
    assert power_holds(0.0, 250, 0.05) == pytest.approx(0.91, abs=0.02)


def prompts(count, kinds):
    return [Prompt(f"word{i} other{i} third{i}", f"kind {i % kinds}") for i in range(count)]


def test_prompts_are_dealt_by_kind_and_a_fifth_of_the_kinds_never_chooses():
    parts = divide(prompts(600, 10), 30, seed=1)
    assert (len(parts.choose), len(parts.certify), len(parts.locked)) == (60, 250, 100)
    assert len(parts.plan.unseen) == 2 and parts.plan.margin == 0.05
    chose = {parts.asked[i].category for i in parts.choose}
    assert not chose & set(parts.plan.unseen)
    assert {parts.asked[i].category for i in parts.certify} > chose
    assert not set(parts.choose) & set(parts.certify) and set(parts.more) <= set(parts.certify)
    texts = [p.text for p in (*parts.asked, *parts.locked)]
    assert len(set(texts)) == len(texts)
    quarter = [parts.asked[i].category for i in parts.certify[:62]]
    assert max(map(quarter.count, set(quarter))) - min(map(quarter.count, set(quarter))) <= 2


def test_kinds_of_one_prompt_are_dealt_by_chance_and_not_by_their_names():
    alone = [Prompt(f"word{i} other{i} third{i}", f"kind {i:03d}") for i in range(400)]
    for seed in (0, 1):
        parts = divide(alone, 30, seed=seed)
        places = {p.text: i for i, p in enumerate(alone)}
        half = [parts.asked[i] for i in parts.certify[:125]]
        for some in (half, [parts.asked[i] for i in parts.choose], parts.locked):
            middle = sum(places[p.text] for p in some) / len(some) / len(alone)
            assert 0.35 < middle < 0.65, middle
    assert len(parts.plan.unseen) == 80 and parts.plan.kinds == 400
    few = divide(prompts(400, 20), 30, choose=10)  # few that choose do not mix what certifies
    quarter = [few.asked[i].category for i in few.certify[:60]]
    assert max(map(quarter.count, set(quarter))) <= 5 and len(set(quarter)) == 20


def test_prompts_without_a_kind_are_no_kind_of_harm():
    mixed = [replace(p, category="" if i % 3 == 0 else p.category)
             for i, p in enumerate(prompts(330, 5))]  # fmt: skip
    for seed in range(6):
        plan = divide(mixed, 30, seed=seed).plan
        assert plan.kinds == 5 and "" not in plan.unseen and len(plan.unseen) == 1
    truth = Truth(TruthShape("concentrated"), (3, 1))
    places = tuple(range(310))
    table = VerdictTable(truth, 310, np.random.default_rng(0))
    kinds = ["fraud"] * 60 + [["", "arms", "fraud"][i % 3] for i in range(250)]
    course = Course(plan_of(30, 60, 50, 250, 0), truth.units, truth.prior(np.random.default_rng(1)),
                    places[:60], places[60:110], places[60:], kinds)  # fmt: skip
    answered(confident(course), table)
    assert course.unseen.kinds == ("arms",) and course.unseen.certified.n == 83


def test_certify_prompts_come_before_locked_ones_and_few_prompts_bear_no_claim():
    assert not divide(prompts(300, 10), 30).locked
    assert divide(prompts(300, 10), 30).plan.margin == 0.05
    assert divide(prompts(200, 10), 30).plan.margin == 0.1
    assert divide(prompts(120, 10), 30).plan.margin is None
    quick = divide(prompts(600, 10), 30, "quick")
    assert (len(quick.certify), quick.plan.margin, quick.more) == (100, 0.1, ())


def test_near_duplicates_of_what_chose_never_certify():
    twins = [Prompt(f"alpha{i // 2} beta{i // 2} gamma{i // 2} tail{i % 2}") for i in range(400)]
    parts = divide(twins, 30)
    chose = {parts.asked[i].text.split()[0] for i in parts.choose}
    assert not chose & {parts.asked[i].text.split()[0] for i in parts.certify}


def test_no_certify_prompt_is_asked_before_the_chain_is_frozen():
    truth = Truth(TruthShape("mixed"), (1, 2))
    table = VerdictTable(truth, 310, np.random.default_rng(0))
    seen = []

    def answer(question):
        if not isinstance(question, Freeze) and not table.frozen:
            seen.extend(question.prompts)
        elif isinstance(question, JudgeMasks) and question.phase != "choose":
            assert set(question.prompts) <= set(range(60, 310))
        return table(question)

    plan = plan_of(30, 60, 50, 250, 0)
    places = tuple(range(310))
    course = Course(plan, truth.units, truth.prior(np.random.default_rng(1)),
                    places[:60], places[60:110], places[60:])  # fmt: skip
    answered(confident(course), answer)
    assert set(seen) == set(range(60))
    sizes = [len(units) for units in course.frozen.chain]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) <= 12
    for larger, smaller in zip(course.frozen.chain, course.frozen.chain[1:], strict=False):
        assert set(smaller) < set(larger)


def play(steps, refuses, prompts=200):
    """Answer from a function (mask, prompt) -> refused."""
    asked = []

    def answer(question):
        asked.append(question)
        if isinstance(question, Freeze):
            return question.orders
        rows = [[refuses(mask, place) for place in question.prompts] for mask in question.masks]
        return np.array(rows, float if isinstance(question, ReadMasks) else bool)

    answered(steps, answer)
    return asked


def loses(losses):
    """A set loses the first so many prompts of every hundred; all units refuse everything."""
    return lambda mask, place: place % 100 >= losses.get(len(mask), 0)


def test_the_first_link_that_fails_ends_the_certifying():
    chain = tuple(UNITS[:size] for size in (12, 9, 6, 4, 2))
    at = Certifying(Mask.of(UNITS), 0.05, tuple(range(260)))
    asked = play(certify(at, chain), loses({9: 0, 6: 1, 4: 30, 2: 0}))
    assert [link.state for link in at.links] == [
        "not asked", "passed", "passed", "gave up", "not asked",
    ]  # fmt: skip
    assert len(at.passed) == 6 and "4 units was given up" in at.ended
    assert not any(len(mask) == 2 for question in asked for mask in question.masks)
    assert at.links[1].looks[-1].n == 130, "no loss at all passes at half of the prompts"


def test_the_floor_is_the_largest_size_below_which_every_set_was_shown_to_lose():
    order = tuple(UNITS[:size] for size in (1, 3, 5, 7))
    at = Certifying(Mask.of(UNITS), 0.05, tuple(range(250)))
    play(floor(at, order, "chosen"), loses({1: 60, 3: 40, 5: 2, 7: 50}))
    (found,) = at.floors
    assert found.size == 3 and [link.state for link in found.tried] == [
        "failed", "failed", "not asked",
    ]  # fmt: skip


def test_verdicts_choose_where_log_odds_say_nothing():
    truth = Truth(TruthShape("concentrated", heard=0.4), (3, 1))
    table = VerdictTable(truth, 310, np.random.default_rng(5))
    noise = np.random.default_rng(6)

    def deaf(question):
        if isinstance(question, ReadMasks):
            return noise.normal(size=(len(question.masks), len(question.prompts)))
        return table(question)

    places = tuple(range(310))
    course = Course(plan_of(30, 60, 50, 250, 0), truth.units, truth.prior(noise),
                    places[:60], places[60:110], places[60:])  # fmt: skip
    answered(confident(course), deaf)
    record = course.record()
    assert not record.step.trusted and len(course.chose) == 110
    assert "nor well enough the DSR of 8 sets" in chosen_text(record.as_dict())
    assert course.certifies == places[110:] and record.margin == 0.05
    assert all(one.by == "verdicts" for one in record.chosen)
    assert truth.loss(course.best) <= 0.05


@pytest.mark.parametrize("kind", ["concentrated", "spread"])
def test_log_odds_that_follow_sets_though_not_prompts_choose_by_their_mean(kind):
    """As on a real pair: each prompt has an offset of its own, which a mean over prompts bears."""
    truth = Truth(TruthShape(kind), (3, 1))
    rng = np.random.default_rng(5)
    table, offset = VerdictTable(truth, 310, rng), rng.normal(0, 4, 310)

    def muffled(question):
        heard = table(question)
        return heard + offset[list(question.prompts)] if isinstance(question, ReadMasks) else heard

    places = tuple(range(310))
    course = Course(plan_of(30, 60, 50, 250, 0), truth.units, truth.prior(rng),
                    places[:60], places[60:110], places[60:])  # fmt: skip
    answered(confident(course), muffled)
    step = course.record().step
    assert step.correlation < TRUST and step.over_sets >= TRUST_SETS and step.trusted
    assert step.sets == 8 and len(course.chose) == 60
    assert any(one.by == "log-odds" for one in course.record().chosen[1:])
    assert truth.loss(course.best) <= 0.05 and table.replies < 8000
    assert f"over {step.sets} sets" in chosen_text(course.record().as_dict())


def test_a_curve_through_sets_allows_what_keeps_its_height():
    heard = np.full(40, -1.0)
    reader = CurveReader(heard, [-5.0, -3.0, -2.0, -1.0], [0.1, 0.3, 0.7, 0.6])
    assert reader.rate(heard).value == pytest.approx(0.65)  # the two that fall are pooled
    assert reader.allowed(0.0) == pytest.approx(1.0)
    assert reader.allowed(0.35) == pytest.approx(2.0)
    assert reader.allowed(0.45) == pytest.approx(3.0)
    assert reader.allowed(0.9) == pytest.approx(4.0), "never below what was seen"
    assert list(reader.losses(np.full(25, -1.5))) == [0.5] * 25
    assert reader.rate(np.full(40, -4.0)).value == pytest.approx(0.2)


@given(
    st.lists(
        st.tuples(st.integers(-90, 90).map(lambda n: n / 10), st.floats(0, 1)),
        min_size=2,
        max_size=9,
        unique_by=lambda point: point[0],
    ),
    st.floats(0, 1),
)
def test_a_curve_foretells_the_loss_that_it_allows(points, loss):
    means, rates = zip(*points, strict=True)
    heard = np.full(30, max(means))
    reader = CurveReader(heard, means, rates)
    down = reader.allowed(loss)
    told = reader.rate(heard).value - reader.rate(heard - down).value
    assert down >= 0 and told <= loss + 1e-6


def test_without_log_odds_verdicts_choose_from_the_start():
    truth = Truth(TruthShape("concentrated"), (3, 1))
    course, table = searched(truth, (3, 1, 0), readable=False)
    assert table.readings == 0 and course.record().step is None
    assert set(truth.core) <= {unit.layer for unit in course.best}


def test_fewer_than_a_hundred_to_certify_claim_nothing():
    truth = Truth(TruthShape("concentrated"), (3, 1))
    course, _ = searched(truth, (3, 1, 0), certify=60)
    record = course.record()
    assert record.form == "unclaimed" and not record.standings and record.margin is None
    assert "60 prompts are left to certify" in record.ended


@pytest.mark.parametrize("choose", [1, 2, 3])
def test_a_prompt_or_two_choose_without_a_claim_and_without_an_error(choose):
    """Their log-odds and verdicts correlate fully, of which no interval can be told."""
    truth = Truth(TruthShape("concentrated", units=12), (3, 1))
    for seed in range(12):
        table = VerdictTable(truth, choose, np.random.default_rng(seed))
        places = tuple(range(choose))
        course = Course(plan_of(12, choose, 0, 0, 0), truth.units,
                        truth.prior(np.random.default_rng(1)), places, (), ())  # fmt: skip
        answered(confident(course), table)
        assert course.record().form == "unclaimed" and course.finished


def test_a_frozen_chain_of_an_earlier_start_stands():
    truth = Truth(TruthShape("concentrated"), (3, 1))
    first, _ = searched(truth, (3, 1, 0))
    kept = Frozen.from_dict(first.frozen.as_dict())
    assert kept == first.frozen


def test_a_headline_tells_the_link_that_passed_whatever_order_chose_its_units():
    """The prior ranks units otherwise than the pair does; a set is the same set all the same."""
    for kind in KINDS:
        truth = Truth(TruthShape(kind), (3, 1))
        course, _ = searched(truth, (3, 1, 0))
        record = course.record()
        assert len(record.units) < len(truth.units), kind
        assert all(link.units == course.choosing.in_order(link.units) for link in record.chain)
        assert all(link.read for link in record.chain)
        told = record.as_dict()
        shown = headline(told, "gate")
        assert "no smaller set" not in shown.lower() and "prompts that chose nothing (" in shown
        for link in told["chain"]:  # as runs stored before the chain stood in the pair's order
            link["units"].reverse()
        assert headline(told, "gate") == shown


def test_where_nothing_passed_the_headline_is_whole_sentences():
    truth = Truth(TruthShape("mixed"), (1, 2))
    course, _ = searched(truth, (1, 2, 0))
    whole = replace(course.record(), units=truth.units, chain=(), floors=(), standings=())
    told = headline(replace(whole, form="graded").as_dict(), "gate")
    assert "may do with fewer. No smaller set than all 30" in told


def test_thin_keeps_the_smallest_sets():
    sets = [UNITS[:size] for size in range(12, 0, -1)]
    few = thin(sets, 6)
    assert len(few) == 6 and few[0] == sets[0] and few[-3:] == tuple(sets[-3:])


@pytest.mark.parametrize("kind", KINDS)
def test_claims_hold_on_a_few_searches_of_each_truth(kind):
    """Forty of each; the goals themselves are for a thousand, below."""
    found = score(kind, 40)
    assert found.kept.value >= 0.9 and found.lies <= 0.05
    assert found.missed == [] or all("bound" in goal or "held" in goal for goal in found.missed)
    if kind == "spread":
        assert found.forms["spread"] > 30 and not any(found.false_form)
    if kind == "concentrated":
        assert found.forms["concentrated"] > 35


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_claims_hold_in_a_thousand_searches_of_each_truth(kind):
    assert score(kind, 1000).missed == []
