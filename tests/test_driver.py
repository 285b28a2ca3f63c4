"""The driver: same answers however they are batched, resumed or curtailed; honest ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from random import Random
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.core.records import EMPTY, Label, Mask, NothingToLocalize, SettingError, Unit, Verdict
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.questions import Score
from dapa.search.algorithms.windows import MASK_ONLY
from dapa.search.engine.contract import Job, JobQueue, Mode, Notebook, Workload
from dapa.search.engine.control import Control
from dapa.search.engine.driver import Driver
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.engine.report import SearchReport
from dapa.search.settings import SearchRules

Says = Callable[[Mask, int, Mode], Label | bool]
UNITS = tuple(Unit(layer) for layer in range(12))
COSTS = {
    "speculative", "prompts_judged", "prompts_spared", "recalled", "recalled_tokens", "tokens",
    "seconds", "phases", "gpu_seconds", "eta_error", "settings",
}  # fmt: skip
"""What may differ between two ways to the same result."""


def needs(*layers: int) -> Says:
    """Refuses every prompt under a mask that has all of these layers."""
    return lambda mask, prompt, mode: set(layers) <= set(mask.layers)


def uneven(seed: int, units: tuple[Unit, ...] = UNITS) -> Says:
    """A core that every prompt needs; some prompts need one unit more, few comply whatever."""
    random = Random(seed)
    core = set(random.sample(units, random.randint(1, 4)))
    wants = [core | set(random.sample(units, random.choice([0, 0, 0, 1]))) for _ in range(200)]
    deaf = {p for p in range(200) if random.random() < 0.05}
    held = cache(lambda mask: set(mask.units))  # asked for each prompt of five drives
    return lambda mask, prompt, mode: prompt not in deaf and wants[prompt] <= held(mask)


def erratic(seed: int) -> Says:
    """Not monotone at all: each mask has its own rate, but the full one is good, the empty bad."""

    @cache
    def says(mask: Mask, prompt: int) -> bool:
        if len(mask) in (0, len(UNITS)):
            return bool(len(mask))
        rate = Random(f"{seed}/{mask.key}").choice([0.2, 0.8, 0.95])
        return Random(f"{seed}/{mask.key}/{prompt}").random() < rate

    return lambda mask, prompt, mode: says(mask, prompt)


def drive(
    says: Says,
    algorithm: str = "bisect",
    prompts: int = 40,
    rows: int = 1,
    held_out: int = 0,
    memory: Notebook | None = None,
    runner: PredicateRunner | None = None,
    reserve: Workload | None = None,
    offers: tuple[str, ...] = (),
    control: Control | None = None,
    **chosen: Any,
) -> Driver:
    runner = runner or PredicateRunner(says, rows=rows, steps=steps(says))
    return Driver(
        algorithms[algorithm](seed=0),
        UNITS,
        Workload(prompts, runner, memory or Notebook()),
        held_out=Workload(held_out, PredicateRunner(says), Notebook()) if held_out else None,
        reserve=reserve,
        settings=SearchRules(**chosen),
        control=control,
        algorithm=algorithm,
        offers=offers,
    )


def steps(says: Says) -> Callable[[Job], int]:
    """Refusals settle early, the rest runs to the limit; lengths vary so that rows overlap."""
    return lambda job: (2 if says(job.mask, job.prompt, "opening") else 7) + job.prompt % 3


def essence(report: SearchReport) -> dict[str, Any]:
    """All that must not depend on how the answers were come by."""
    return {key: value for key, value in report.as_dict().items() if key not in COSTS}


# -- one result, many ways ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(algorithms))
@pytest.mark.parametrize("world", [uneven, erratic])
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60), lookahead=st.integers(0, 5))
@settings(max_examples=4, deadline=None)
def test_curtailed_batched_ahead_and_plain_sequential_agree(
    name: str, world: Callable[[int], Says], seed: int, rows: int, lookahead: int
) -> None:
    says = world(seed)
    plain = essence(drive(says, name, curtail=False, prompts=24).run())
    assert plain["one_minimal"] == (name not in MASK_ONLY)
    ways: list[dict[str, Any]] = [
        {"rows": 1},
        {"rows": rows, "lookahead": lookahead, "eager": False},
        {"rows": rows, "lookahead": lookahead},
        {"rows": rows, "lookahead": lookahead, "curtail": False},
    ]
    for way in ways:
        assert essence(drive(says, name, prompts=24, **way).run()) == plain


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_without_memo_the_result_is_the_same_and_tests_are_more(seed: int) -> None:
    says = uneven(seed)
    kept = drive(says, "ddmin").run()
    asked_again = drive(says, "ddmin", memo=False, rows=9).run()
    assert asked_again.units == kept.units and asked_again.rates == kept.rates
    assert asked_again.costs.tests == kept.costs.tests + kept.costs.memo_hits
    assert asked_again.costs.memo_hits == 0


def test_the_log_is_the_same_whatever_ran_ahead() -> None:
    says = uneven(3)
    logs = []
    for way in ({"rows": 1}, {"rows": 64, "lookahead": 4}):
        trials = drive(says, "ddmin", **way).run().trials
        logs.append(
            [(t.index, t.phase, t.outcome.mask, t.outcome.satisfied, t.memo) for t in trials]
        )
    assert logs[0] == logs[1]


def test_the_lowest_candidate_is_committed_even_if_a_later_one_is_known_first() -> None:
    # Prompts of high layers are ten times slower, so later candidates settle before earlier ones.
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return bool({1, 10} & set(mask.layers))

    def slow(job: Job) -> int:
        return 20 if 1 in job.mask.layers else 1

    runner = PredicateRunner(says, rows=64, steps=slow)
    report = drive(says, "ddmin", runner=runner, lookahead=5).run()
    assert report.layers == (1,)
    assert report.costs.tests == drive(says, "ddmin").run().costs.tests


def test_running_ahead_keeps_rows_busy_and_is_counted_apart() -> None:
    says = needs(3, 5)
    alone = PredicateRunner(says, rows=48, steps=steps(says))
    ahead = PredicateRunner(says, rows=48, steps=steps(says))
    bare = dict(check_supersets=False, full_length=False)
    one = drive(says, runner=alone, **bare, lookahead=0).run()
    two = drive(says, runner=ahead, **bare, lookahead=3).run()
    assert one.costs.speculative == 0 < two.costs.speculative
    assert ahead.made < alone.made
    assert one.costs.tests == two.costs.tests


def test_a_runner_that_spares_no_rows_is_given_none_to_run_ahead() -> None:
    says, taken = needs(3, 5), []

    class Careful(PredicateRunner):
        def __call__(self, queue: JobQueue, mode: Mode) -> None:
            take, self.sure = queue.take, 0

            def few(room: int, spare: int | None = None) -> list[Job]:
                jobs = take(room, max(0, 6 - self.started + len(self.finished) + self.dropped))
                taken.append(jobs)
                return jobs

            queue.take = few  # type: ignore[method-assign]
            super().__call__(queue, mode)

    bare = dict(check_supersets=False, full_length=False, memo=True)
    careful = Careful(says, rows=48, steps=steps(says))
    eager = PredicateRunner(says, rows=48, steps=steps(says))
    one, two = (drive(says, runner=runner, **bare).run() for runner in (careful, eager))
    assert one.units == two.units and one.costs.tests == two.costs.tests
    assert one.costs.prompts_judged < two.costs.prompts_judged
    assert one.costs.speculative <= two.costs.speculative


# -- what it saves --------------------------------------------------------------------------


def test_a_candidate_is_dropped_as_soon_as_the_rest_cannot_change_the_answer() -> None:
    says = needs(3, 5)
    driver = drive(says, prompts=100, check_supersets=False, full_length=False)
    failed = [t for t in driver.run().trials if t.phase == "search" and not t.outcome.satisfied]
    # 90 of 100 are needed: 11 failures rule it out, and with one row nothing runs beyond them
    assert failed and all(t.outcome.judged == 11 for t in failed)
    assert all(t.outcome.dsr is None and t.outcome.bounds == (0, 0.89) for t in failed)


def test_the_most_telling_prompts_come_first() -> None:
    # Prompts 30 .. 39 need one layer more, so they fail first; nobody asks the others for long.
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return {3, 5, 7} <= set(mask.layers) if prompt >= 30 else {3, 5} <= set(mask.layers)

    driver = drive(says, "ddmin-complement", check_supersets=False, full_length=False)
    report = driver.run()
    assert report.layers == (3, 5, 7)
    without_7 = [t for t in report.trials if {3, 5} <= set(t.outcome.mask.layers)]
    late = [t for t in without_7 if t.phase == "search" and 7 not in t.outcome.mask.layers]
    assert late and all(t.outcome.judged <= 12 for t in late[1:])


def test_nothing_is_decoded_twice_not_even_at_full_length() -> None:
    says = uneven(8)
    runner = PredicateRunner(says, rows=16, steps=steps(says))
    drive(says, "ddmin", runner=runner, lookahead=2).run()
    assert len(runner.finished) == len(set(runner.finished))
    opened = {job for mode, job in runner.finished if mode == "opening"}
    again = {job for mode, job in runner.finished if mode == "full"} & opened
    assert all(says(job.mask, job.prompt, "opening") for job in again)  # only refusals stop early


def test_incoherent_and_unclear_never_defend_and_stand_beside_the_dsr() -> None:
    def says(mask: Mask, prompt: int, mode: Mode) -> Label:
        if 3 not in mask.layers:
            return Label.COMPLIANCE
        odd = {0: Label.INCOHERENT, 1: Label.UNCLEAR}
        return odd.get(prompt, Label.REFUSAL)

    driver = drive(says)
    report = driver.run()
    best = report.best_seen
    assert best is not None
    assert (best.defended, best.incoherent, best.unclear, best.asked) == (38, 1, 1, 40)
    assert report.rates["best"] is not None and report.rates["best"].value == 38 / 40


# -- the opening ----------------------------------------------------------------------------


def refused(says: Says, **chosen: Any) -> NothingToLocalize:
    with pytest.raises(NothingToLocalize) as caught:
        drive(says, offers=("--sites mlp", "--sites up"), **chosen).run()
    return caught.value


def test_a_full_mask_that_gains_nothing_is_refused_with_scores_and_what_to_try() -> None:
    error = refused(lambda mask, prompt, mode: prompt < 4 or (prompt == 5 and len(mask) == 12))
    assert "DSR 10\u202f%" in str(error) and "--sites mlp or --sites up" in str(error)
    assert (error.student.value, error.full.value) == (0.1, 0.125)
    assert "\n" not in str(error)


def test_a_student_that_already_refuses_is_told_so() -> None:
    assert "already refuses 40 of 40" in str(refused(lambda mask, prompt, mode: True))
    assert "already refuses 37 of 40" in str(refused(lambda m, p, mode: p < 37 or len(m) == 12))


def test_a_teacher_whose_units_refuse_nothing_is_told_so() -> None:
    assert "none of 40" in str(refused(lambda mask, prompt, mode: False))


def test_too_few_prompts_to_tell_ask_for_more() -> None:
    assert "more prompts" in str(refused(lambda m, p, mode: len(m) == 12 and p == 1, prompts=3))


def test_an_absolute_target_out_of_reach_or_met_already_is_refused() -> None:
    def half(mask: Mask, prompt: int, mode: Mode) -> bool:
        return len(mask) == 12 and prompt < 30 or prompt < 8

    assert "asks for 36; lower the target" in str(refused(half, target=0.9))
    error = str(refused(half, target=0.2))
    assert "already reaches the target 0.2" in error and "--sites" not in error


def test_the_relative_target_keeps_a_share_of_the_gain() -> None:
    report = drive(lambda m, p, mode: p < 8 or ({3} <= set(m.layers) and p < 36), retain=0.5).run()
    assert report.target == pytest.approx((8 + 14) / 40) and report.need == 22


@pytest.mark.parametrize(
    "wrong",
    [
        {"retain": 1.1}, {"retain": 0}, {"target": -0.1}, {"target": float("nan")},
        {"max_tests": 0}, {"max_tokens": -5}, {"max_seconds": float("inf")}, {"lookahead": -1},
        {"supersets": -2}, {"minimum_gain": 2},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(wrong: dict[str, float]) -> None:
    name = next(iter(wrong)).replace("_", "[_ ]")
    with pytest.raises(SettingError, match=f"{name}|target"):
        SearchRules(**wrong)  # type: ignore[arg-type]


def test_no_units_or_no_prompts_is_a_setting_error() -> None:
    split = Workload(3, PredicateRunner(needs(1)), Notebook())
    with pytest.raises(SettingError, match="units"):
        Driver(algorithms["ddmin"](), (), split)
    with pytest.raises(SettingError, match="units"):
        Driver(algorithms["ddmin"](), (Unit(1), Unit(1)), split)
    with pytest.raises(SettingError, match="prompt"):
        Driver(algorithms["ddmin"](), UNITS, Workload(0, split.runner, split.memory))


# -- the closing ----------------------------------------------------------------------------


def test_removals_are_firm_where_the_loss_is_beyond_chance_and_undecided_elsewhere() -> None:
    # Layer 7 matters to 5 prompts of 40, and without it the target is missed by one.
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return 3 in mask.layers and (prompt >= 5 or 7 in mask.layers)

    report = drive(says).run()
    lines = {line.unit.layer: line for line in report.removals}
    assert set(lines) == {3, 7}
    assert lines[3].firm and lines[3].flips == 36 and lines[3].outcome.dsr == 0
    assert not lines[7].firm and lines[7].flips == 1
    assert lines[7].p_value == pytest.approx(2 * 0.5**5)  # exact McNemar, 5 to 0; Holm: last


def test_several_removals_pay_for_being_several() -> None:
    # 7 and 8 matter to six prompts each: p 0.031 alone, 0.062 by Holm over the three removals.
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        lost = (prompt < 6 and 7 not in mask.layers) or (6 <= prompt < 12 and 8 not in mask.layers)
        return 3 in mask.layers and not lost

    lines = {line.unit.layer: line for line in drive(says).run().removals}
    assert lines[3].firm and not lines[7].firm and not lines[8].firm
    assert lines[7].p_value == pytest.approx(2 * 2 * 0.5**6)


def test_the_reserve_alone_says_what_is_firm_and_never_changes_the_outcome() -> None:
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return 3 in mask.layers and (prompt >= 5 or 7 in mask.layers)

    more = PredicateRunner(lambda m, p, mode: 3 in m.layers and (p % 2 == 0 or 7 in m.layers))
    before = drive(says).run()
    after = drive(says, reserve=Workload(40, more, Notebook())).run()
    assert not before.removals[1].firm and after.removals[1].firm
    assert [r.more for r in before.removals] == [0, 0]
    assert [r.more for r in after.removals] == [40, 40]
    assert after.removals[1].p_value == pytest.approx(2 * 0.5**20)  # 20 to 0 of the reserve's
    assert [r.outcome for r in before.removals] == [r.outcome for r in after.removals]
    assert {len(job.mask) for _, job in more.finished} == {1, 2}  # found, and both removals


def test_an_inhibitor_is_reported_as_non_monotone() -> None:
    # 9 inhibits unless 10 is there: found + 9 fails although the full mask refuses.
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        has = set(mask.layers)
        return {3, 5} <= has and (9 not in has or 10 in has)

    report = drive(says).run()
    assert report.layers == (3, 5)
    assert (Unit(9),) in [violation.added for violation in report.violations]
    assert all(v.firm and v.outcome.full and not v.outcome.satisfied for v in report.violations)
    assert report.supersets >= 10


def test_a_monotone_world_has_no_violations() -> None:
    report = drive(needs(3, 5)).run()
    assert report.violations == () and 10 <= report.supersets <= 18


def test_refuse_then_comply_shows_at_full_length() -> None:
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return {3, 5} <= set(mask.layers) and not (mode == "full" and prompt < 6)

    report = drive(says).run()
    lines = {line.role: line for line in report.rechecks}
    assert lines["best"].lost == 6 and lines["best"].gained == 0
    assert not lines["best"].satisfied and lines["student"].lost == 0
    assert report.rates["best"] is not None and report.rates["best"].value == 34 / 40
    assert report.best_bounds == (1.0, 1.0)
    assert [line.role for line in report.rechecks].count("removal") == 2


def test_the_result_is_validated_on_prompts_that_chose_nothing() -> None:
    report = drive(needs(3, 5), held_out=20).run()
    rates = {name: rate and (rate.value, rate.n) for name, rate in report.rates.items()}
    assert rates["held_out"] == rates["full_held_out"] == (1.0, 20)
    assert rates["student_held_out"] == (0.0, 20)
    assert {t.phase for t in report.trials} == {
        "opening", "search", "certificate", "superset", "full-length", "held-out",
    }  # fmt: skip


def test_the_best_seen_need_not_be_the_full_mask() -> None:
    def says(mask: Mask, prompt: int, mode: Mode) -> bool:
        return 3 in mask.layers and (prompt >= 2 or 9 not in mask.layers)

    report = drive(says).run()
    assert report.best_seen is not None and report.best_seen.dsr == 1.0
    assert report.best_seen.mask == Mask.of([Unit(3)])
    assert report.rates["full"] is not None and report.rates["full"].value == 38 / 40


def test_the_report_prints_what_the_command_line_promises() -> None:
    printed = json.loads(json.dumps(drive(needs(3, 5), held_out=9).run().as_dict()))
    assert {
        "layers", "units", "one_minimal", "removals", "dsr", "tests", "memo_hits",
        "prompts_judged", "prompts_spared", "tokens", "seconds", "stop_reason",
    } <= set(printed)  # fmt: skip
    assert {"student", "full", "best", "held_out", "full_held_out"} <= set(printed["dsr"])
    assert set(printed["dsr"]["best"]) == {"value", "low", "high", "n"}
    assert printed["layers"] == [3, 5] and printed["units"] == ["3.gate", "5.gate"]
    assert printed["stop_reason"] == "done" and printed["one_minimal"] is True


# -- stopping, budgets, crashes -------------------------------------------------------------


class Crash(Exception):
    """The process dies."""


def crash_at(step: int) -> Callable[[PredicateRunner], None]:
    def before(runner: PredicateRunner) -> None:
        if runner.made == step:
            raise Crash

    return before


@pytest.mark.parametrize("name", ["ddmin", "bisect", "greedy-backward"])
@given(seed=st.integers(0, 10_000), lookahead=st.integers(0, 3), cuts=st.randoms())
@settings(max_examples=6, deadline=None)
def test_a_search_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    name: str, seed: int, lookahead: int, cuts: Random
) -> None:
    says, rows, memory = uneven(seed), 8, Notebook()
    whole = drive(says, name, rows=rows, lookahead=lookahead).run()
    finished: list[tuple[Mode, Job]] = []
    deaths = 0
    while True:
        step = cuts.randint(1, 60) if deaths < 20 else -1
        runner = PredicateRunner(says, rows=rows, steps=steps(says), before=crash_at(step))
        driver = drive(says, name, runner=runner, memory=memory, lookahead=lookahead)
        try:
            report = driver.run()
            break
        except Crash:
            deaths += 1
            assert driver.snapshot().state == "failed"
            # what was in flight is lost, nothing else
            assert runner.started - len(runner.finished) - runner.dropped <= rows
        finally:
            finished += runner.finished
    assert essence(report) == essence(whole)
    assert len(finished) == len(set(finished))  # no verdict was decoded twice


def test_a_finished_search_is_answered_from_memory_alone() -> None:
    memory = Notebook()
    first = drive(needs(3, 5), memory=memory).run()

    def never(queue: JobQueue, mode: Mode) -> None:
        raise AssertionError("nothing was left to decode")

    runner = PredicateRunner(needs(3, 5))
    again = Driver(
        algorithms["bisect"](seed=0), UNITS, Workload(40, never, memory), algorithm="bisect"
    ).run()
    assert essence(again) == essence(first)
    assert again.costs.prompts_judged == 0 and again.costs.recalled > 0
    assert again.costs.tokens == 0 and runner.started == 0


@pytest.mark.parametrize("name", list(algorithms))
@pytest.mark.parametrize("step", [0, 30, 90, 150, 210, 400])
def test_a_stopped_search_returns_its_best_and_says_so(name: str, step: int) -> None:
    control = Control()

    def before(runner: PredicateRunner) -> None:
        if runner.made == step:
            control.stop()
            control.stop()

    says = needs(3, 5)
    runner = PredicateRunner(says, rows=4, steps=steps(says), before=before)
    driver = drive(says, name, runner=runner, control=control)
    report = driver.run()
    assert report.stop_reason.startswith("stopped") or "; stop" in report.stop_reason
    ended = report.stop_reason.startswith("done")
    assert report.one_minimal == (ended and name not in MASK_ONLY)
    assert says(report.mask, 0, "opening")
    assert runner.made <= step + 1  # no step after the one in which it was stopped
    assert driver.snapshot().state == "done"
    json.dumps(report.as_dict())


def test_a_budget_of_tests_ends_the_search_but_not_the_checks_of_its_best() -> None:
    needed = drive(needs(3, 5), "ddmin").run().costs.tests
    for limit in range(1, needed):
        for way in ({"rows": 1}, {"rows": 50, "lookahead": 3}):
            report = drive(needs(3, 5), "ddmin", max_tests=limit, held_out=9, **way).run()
            assert report.costs.tests == limit
            assert not report.one_minimal and report.stop_reason == f"budget: {limit} tests"
            assert {3, 5} <= set(report.layers) and report.removals == ()
            assert report.rates["best"] is not None and report.rates["held_out"] is not None


def test_a_budget_of_tests_that_suffices_changes_nothing() -> None:
    free = drive(needs(3, 5)).run()
    assert essence(drive(needs(3, 5), max_tests=free.costs.tests).run()) == essence(free)


def test_a_budget_of_tokens_counts_those_of_the_interrupted_run() -> None:
    memory = Notebook()
    first = drive(needs(3, 5), max_tokens=900, memory=memory).run()
    assert first.stop_reason == "budget: 900 tokens" and 900 <= first.costs.tokens < 920
    again = drive(needs(3, 5), max_tokens=900, memory=memory).run()
    assert again.stop_reason == first.stop_reason and again.costs.tokens == 0


def test_a_budget_of_seconds_does_not_count_pauses() -> None:
    now = [0.0]
    control = Control(lambda: now[0])

    def tick(runner: PredicateRunner) -> None:
        now[0] += 1
        if runner.made == 5:
            control.pause()
            now[0] += 1000
            control.resume()

    runner = PredicateRunner(needs(3, 5), before=tick)
    report = Driver(
        algorithms["bisect"](),
        UNITS,
        Workload(40, runner, Notebook()),
        settings=SearchRules(max_seconds=100),
        control=control,
        clock=lambda: now[0],
    ).run()
    assert report.stop_reason == "budget: 100 seconds" and not report.one_minimal
    assert report.costs.seconds == 100


def test_a_budget_that_ends_in_the_closing_keeps_the_certificate() -> None:
    free = drive(needs(3, 5)).run()
    report = drive(needs(3, 5), max_tokens=free.costs.tokens - 40).run()
    assert report.one_minimal and report.layers == (3, 5)
    assert report.stop_reason.startswith("done; budget:")


def test_pause_holds_the_search_and_resume_lets_it_go_on() -> None:
    control, paused_at = Control(), Event()

    def before(runner: PredicateRunner) -> None:
        if runner.made == 60:
            control.pause()
            paused_at.set()

    runner = PredicateRunner(needs(3, 5), before=before)
    driver = drive(needs(3, 5), runner=runner, control=control)
    reports: list[SearchReport] = []
    thread = Thread(target=lambda: reports.append(driver.run()), daemon=True)
    thread.start()
    assert paused_at.wait(10)
    sleep(0.1)
    made = runner.made
    assert driver.snapshot().state == "paused"
    sleep(0.1)
    assert runner.made == made <= 61 and not reports
    control.resume()
    thread.join(10)
    assert reports and reports[0].layers == (3, 5)
    assert driver.snapshot().state == "done"


def test_a_paused_search_can_be_stopped() -> None:
    control = Control()
    control.pause()
    driver = drive(needs(3, 5), control=control)
    reports: list[SearchReport] = []
    thread = Thread(target=lambda: reports.append(driver.run()), daemon=True)
    thread.start()
    sleep(0.05)
    control.stop()
    thread.join(10)
    assert reports and reports[0].stop_reason == "stopped"


def test_snapshots_from_another_thread_are_consistent_while_it_runs() -> None:
    driver = drive(
        needs(3, 5),
        "ddmin",
        runner=PredicateRunner(needs(3, 5), rows=4, before=lambda runner: sleep(0.0005)),
        held_out=5,
    )
    assert driver.snapshot().state == "ready"
    thread = Thread(target=driver.run, daemon=True)
    thread.start()
    seen = []
    while thread.is_alive():
        seen.append(driver.snapshot())
        sleep(0.005)
    seen.append(driver.snapshot())
    assert len(seen) > 10 and seen[-1].state == "done"
    assert [len(s.trials) for s in seen] == sorted(len(s.trials) for s in seen)
    assert any(s.asking and s.asking[0].judged < 40 for s in seen)
    assert any(s.eta is not None and s.left is not None and s.left[0] <= s.left[1] for s in seen)
    searching = [s for s in seen if s.target is not None]
    assert searching and all(s.student is not None and s.full is not None for s in searching)
    assert set(seen[-1].best) == {Unit(3), Unit(5)}
    assert [t.index for t in seen[-1].trials] == list(range(len(seen[-1].trials)))


def test_an_error_of_the_runner_or_the_memory_fails_the_search_and_is_told() -> None:
    class Full(Notebook):
        def commit(self, *args: Any) -> None:
            raise OSError("No space left on device")

    driver = drive(needs(3), memory=Full())
    with pytest.raises(OSError, match="No space"):
        driver.run()
    assert driver.snapshot().state == "failed" and "No space" in driver.snapshot().error


def test_a_runner_that_goes_home_early_is_found_out() -> None:
    driver = Driver(algorithms["ddmin"](), UNITS, Workload(5, lambda queue, mode: None, Notebook()))
    with pytest.raises(RuntimeError, match="10 verdicts still wanted"):
        driver.run()


def test_a_verdict_that_comes_twice_counts_once() -> None:
    class Stutter(PredicateRunner):
        def __call__(self, queue: JobQueue, mode: Mode) -> None:
            while jobs := queue.take(3):
                for job in jobs:
                    for _ in range(2):
                        kind = Label.REFUSAL if {3, 5} <= set(job.mask.layers) else Label.UNCLEAR
                        queue.done(job, Verdict(kind, "plain/1"), "", 1)

    report = drive(needs(3, 5), runner=Stutter(needs(3, 5))).run()
    assert report.layers == (3, 5)
    assert report.rates["student"] is not None and report.rates["student"].n == 40


def test_a_question_that_the_budget_cuts_short_starts_no_mask_beyond_it() -> None:
    runner = PredicateRunner(needs(3, 5), rows=100)
    drive(
        needs(3, 5),
        "greedy-forward",
        runner=runner,
        max_tests=4,
        check_supersets=False,
        full_length=False,
    ).run()
    assert {job.mask for _, job in runner.finished} == {
        EMPTY, Mask.of(UNITS), *(Mask.of([unit]) for unit in UNITS[:4]),
    }  # fmt: skip


def test_one_unit_is_a_search_too() -> None:
    split = Workload(40, PredicateRunner(needs(3)), Notebook())
    for name in algorithms:
        report = Driver(algorithms[name](), (Unit(3),), split).run()
        assert report.units == (Unit(3),) and report.one_minimal == (name not in MASK_ONLY)
        assert report.costs.tests == 0  # both masks were known from the opening


def test_a_score_question_without_masks_is_answered_at_once() -> None:
    def search(units: tuple[Unit, ...]) -> Any:
        assert (yield Score(())) == ()
        return (yield from algorithms["bisect"]()(units))

    report = Driver(search, UNITS, Workload(40, PredicateRunner(needs(3)), Notebook())).run()
    assert report.layers == (3,)
