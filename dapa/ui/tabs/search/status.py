"""What a tab shows of a search that the server runs: its state, what it cost, what is to come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.records import NothingToLocalize, Outcome, Rate
from dapa.ui import replay
from dapa.ui.belonging import owner_of, whose
from dapa.ui.dashboard import Dashboard, text
from dapa.ui.headline import card
from dapa.ui.parts import (
    THIN,
    about,
    bar,
    note,
    number,
    percent,
    rate,
    seconds,
    table,
    title,
)
from dapa.ui.tabs.search import certified, certifying, result
from dapa.ui.tasks import Progress, Task
from dapa.ui.watching import pace, stage
from dapa.workbench import (
    AGAIN,
    Costs,
    Evaluation,
    SearchJob,
    SearchProgress,
)
from dapa.writing.certified import stage_now
from dapa.writing.claims import Offered
from dapa.writing.concentration import offers_text
from dapa.writing.costs import PHASES
from dapa.writing.unit_names import kind_text

_ELSEWHERE = "elsewhere"
"""Names what is measured where a search found nothing."""
_HEADLINE = "headline"
"""Marks the one measurement that follows every search unasked, apart from those asked for."""


class SearchStatus:
    """What a tab shows of a job: every output at once, or nothing where nothing changed."""

    def __init__(self, dashboard: Dashboard, outputs: list[Any]) -> None:
        """Watch through `dashboard`; `outputs` are what `view` fills, in its order."""
        self.dashboard = dashboard
        self.outputs = outputs

    def job(self, job_id: Any) -> SearchJob | None:
        """The job of this id, if this server runs or ran it."""
        wanted = text(job_id, "the search", 200)
        return next((job for job in self.dashboard.workbench.jobs() if job.id == wanted), None)

    def view(self, job: SearchJob | None, drawn: Any) -> tuple[Any, ...]:
        """The outputs' values; `drawn` tells what is on screen already."""
        if job is None:
            return self._same(False)
        now = job.progress()
        over = job.wait(0)
        state = now.state if not over else "failed" if job.error else "done"
        paused = now.state == "paused"
        judging = sum(outcome.judged for outcome in now.asking)
        at = pictured(job, now)
        bench = self.dashboard.workbench
        ours = bench.loaded and job.suits(bench.pair)
        here = (self.dashboard.epoch, ours)
        running = not over
        done = job.report is not None and bool(job.report.units) and ours
        asked = self._ask_skill(job) if over and done else None
        empty_handed = over and ours and _lacks(job)
        looking = self._look_elsewhere(job) if empty_handed else None
        waits = any(one is not None and not one.over for one in (asked, looking))
        beside = (stage(asked), stage(looking))
        trials, judged = len(now.trials), now.costs.prompts_judged
        # `over` apart from `state`: a search says "done" a moment before its thread has ended
        stamp = (job.id, state, over, trials, judged, judging, at, here, beside)
        if stamp == drawn:
            return self._same(running or waits)
        other = self.elsewhere(job) if empty_handed else ""
        empty = over and not now.trials
        return (
            self.headline(job, state),
            below(job, now),
            "" if empty else meter(now, job.report.stop_reason if job.report else ""),
            replay.encode(
                job.id,
                job.method,
                now.trials,
                job.units,
                now.target,
                now.asking,
                running,
                now.costs.tests,
            ),
            gr.update(
                visible=not running,
                value="Search again" if over and ours else "Start search",
                elem_classes="plain" if done or other else "primary-action",
            ),
            gr.update(visible=not running),
            gr.update(visible=running, value="Resume" if paused else "Pause"),
            gr.update(visible=running),
            *[gr.update(visible=over and done)] * 3,
            gr.update(visible=over and done and job.confident),
            gr.update(
                visible=bool(other),
                value=f"Search {kind_text(other, 2)} instead" if other else "",
            ),
            gr.Timer(pace(now.costs.seconds), active=running or waits),
            job.id if over else gr.skip(),
            stamp,
            at,
            whose(self.dashboard, owner_of(job.owner), "This search", ours),
        )

    def _same(self, ticking: bool) -> tuple[Any, ...]:
        """Nothing new; does the clock go on?"""
        rest = [gr.skip()] * (len(self.outputs) - 5)
        return (*rest, gr.Timer(active=ticking), *[gr.skip()] * 4)

    def headline(self, job: SearchJob, state: str) -> Html:
        """What stands on top: the result, the failure, or what is going on."""
        if job.report is not None:
            share = job.share.fraction if job.share else None
            limit, kind = job.settings.max_new_tokens, job.unit_kind
            over = self._headline(job)
            if job.report.confidence is not None:
                again = job.store.rating(AGAIN, job.id)
                return certified.head(job.report, kind, limit, again, over)
            told = (job.report, kind, job.total, share, self._skill(job), limit)
            return result.head(*told, self._also(job), over)
        if isinstance(job.error, NothingToLocalize):
            scores = table(
                ("DSR", ""),
                [("student", rate(job.error.student)), ("every unit", rate(job.error.full))],
            )
            return title("Nothing to find here", _why(job)) + scores + self._offer(job)
        if job.error is not None:
            return title("The search failed") + note(str(job.error), "fail")
        word = "Paused" if state == "paused" else "Searching"
        units = f"{job.total} {kind_text(job.unit_kind, job.total)}"
        if job.confident:
            count = len(job.prompts) + len(job.held_out)
            words = f"{word}: {units}, {count} prompts"
            return certifying.running(job.progress(), job.unit_kind, words)
        return title(
            f"{word}: {units}, {len(job.prompts)} prompts",
            "It runs in the server: close this tab, chat or toggle meanwhile; nothing is lost.",
        )

    def _headline(self, job: SearchJob) -> Html:
        """The card over the result; empty where nothing was found."""
        if job.report is None or not job.report.units:
            return html("")
        skills, waiting = skills_of(self.dashboard, job.id)
        return card(result.headlined(job.report, job.unit_kind, job.total, skills, waiting))

    def _ask_skill(self, job: SearchJob) -> Task | None:
        """What measures the headline's skill, begun once the search has found something."""
        bench = self.dashboard.workbench
        known = self.dashboard.tasks.of(f"{job.id} {_HEADLINE}", "skill")
        if known is not None or not bench.loaded or not job.of(bench.pair):
            return known
        report, held = job.report, job.pair
        if report is None or not bench.has_skill:
            return None
        how, most = job.settings.format(), job.settings.max_new_tokens

        def work(told: Progress, stop: threading.Event, held: Any = held) -> Evaluation:
            """Holds the pair until it is measured, whatever is loaded meanwhile."""

            def heard(done: int, of: int) -> None:
                told("skill", done / max(1, of))

            asked: dict[str, Any] = {"how": how, "max_new_tokens": most, "progress": heard}
            found = bench.skill(report.mask, **asked, stop=stop)
            if not stop.is_set():
                bench.keep_effects(job.id, found)
            return found

        return self.dashboard.tasks.begin(f"{job.id} {_HEADLINE}", "skill", work, unasked=True)

    def elsewhere(self, job: SearchJob) -> str:
        """The kind of site to search where nothing was found, once that is known; else empty."""
        task = self.dashboard.tasks.of(f"{job.id} {_ELSEWHERE}", _ELSEWHERE)
        if task is None or not task.over:
            return ""
        found: Sequence[Any] = task.result or ()
        clear = [one.kind for one in found if one.alone is not None and one.alone.low > 0]
        names = [*clear, *(kind for kind in ("mlp", *job.others) if kind in job.others)]
        return names[0] if names else ""

    def _look_elsewhere(self, job: SearchJob) -> Task:
        """What measures the other kinds of site, begun once a search has found nothing."""
        known = self.dashboard.tasks.of(f"{job.id} {_ELSEWHERE}", _ELSEWHERE)
        if known is not None:
            return known
        bench = self.dashboard.workbench

        def work(told: Progress, stop: threading.Event) -> Any:
            return bench.elsewhere(job, stop)

        return self.dashboard.tasks.begin(f"{job.id} {_ELSEWHERE}", _ELSEWHERE, work, unasked=True)

    def _offer(self, job: SearchJob) -> Html | str:
        """Where else to look, the largest share of the gap first, as far as it is measured."""
        task = self.dashboard.tasks.of(f"{job.id} {_ELSEWHERE}", _ELSEWHERE)
        if task is None:
            return ""
        if not task.over:
            return note("Where else refusal may lie is being measured: other kinds of site.")
        found = task.result or ()
        return note(offers_text(SimpleNamespace(sites=found, finer=False)).strip())

    def _skill(self, job: SearchJob) -> tuple[Rate, Rate] | None:
        """The student's and the found set's skill, if someone has asked for it."""
        task = self.dashboard.tasks.of(job.id, "skill")
        if task is None or task.result is None:
            return None
        student, patched = (task.result.record.rate(who, "skill") for who in ("student", "patched"))
        return (student, patched) if student and patched else None

    def _also(self, job: SearchJob) -> Sequence[Offered]:
        """Sets of fewer units that stability met, if someone has asked for it."""
        task = self.dashboard.tasks.of(job.id, "stability")
        if task is None or task.result is None:
            return ()
        found: Sequence[Offered] = task.result.record.found.smaller
        return found


def skills_of(dashboard: Dashboard, run: str) -> tuple[dict[str, Rate] | None, str]:
    """The skill of student, patched and teacher beside a search; or why there is none yet."""
    task = dashboard.tasks.of(run, "skill")
    if task is None or task.result is None:
        task = dashboard.tasks.of(f"{run} {_HEADLINE}", "skill")
    if task is None or task.result is None:
        return None, "being measured" if task is not None and not task.over else ""
    found = getattr(task.result, "record", task.result)
    rates = {who: found.rate(who, "skill") for who in ("student", "patched", "teacher")}
    return {who: rate for who, rate in rates.items() if rate is not None}, ""


def below(job: SearchJob, now: SearchProgress) -> Html:
    """What stands under the row of buttons, and under a confidence search's picture."""
    if job.report is not None:
        if job.report.confidence is None:
            return result.below(job.report, job.over_kinds)
        return certified.below(job.report, job.unit_kind, job.over_kinds)
    record = now.confidence
    if record is None or not record.chosen:
        return html("")
    return certifying.units_row(record.as_dict(), len(record.units) == record.total)


def pictured(job: SearchJob, now: SearchProgress) -> tuple[Any, ...]:
    """What the picture of a confidence search hangs on; empty where there is none."""
    record = job.report.confidence if job.report else now.confidence
    if record is None or not record.chosen:
        return ()
    states = tuple(link.state for link in record.chain)
    tried = sum(len(floor.tried) for floor in record.floors)
    return (job.id, job.report is not None, len(record.chosen), states, tried)


def _why(job: SearchJob) -> str:
    """The reason without what is for the command line."""
    plain = str(job.error).removeprefix("nothing to localize: ")
    plain = plain.partition(" (student DSR")[0].partition("; try --")[0]
    return f"{plain[:1].upper() + plain[1:]}."


def _lacks(job: SearchJob) -> bool:
    """Did it find nothing, of a student that mostly does not refuse by itself?"""
    return isinstance(job.error, NothingToLocalize) and job.error.student.value <= 0.5


def dsr_text(outcome: Outcome) -> str:
    """A DSR, or the bound that settled it."""
    if outcome.dsr is not None:
        return percent(outcome.dsr, 0)
    low, high = outcome.bounds
    return f"≥{THIN}{percent(low, 0)}" if outcome.satisfied else f"≤{THIN}{percent(high, 0)}"


def meter(now: SearchProgress, ended: str = "") -> Html:
    """The cost cards: what was spent, what was saved, what is to come.

    Args:
        now: The search as far as it is.
        ended: Its report's reason, once there is one.
    """
    costs = now.costs
    mine = [
        t.outcome for t in now.trials if t.outcome.satisfied and t.outcome.mask.units == now.best
    ]
    best = next((outcome for outcome in mine if outcome.full), mine[-1] if mine else None)
    scores = " · ".join(
        f"{name} {dsr_text(outcome)}"
        for name, outcome in (("student", now.student), ("all units", now.full))
        if outcome is not None
    )
    tests = f"tests · {costs.memo_hits} answered from memory"
    if costs.recalled:
        tests += f", {number(costs.recalled)} verdicts recalled"
    made = now.confidence
    what = "of the search prompts refused (DSR)" + (f" · {scores}" if scores else "")
    now_dsr = (dsr_text(best) if best else "–", what)
    if made is not None:
        units = "units in the set now" + (f" · on prompts that choose: {scores}" if scores else "")
        now_dsr = (f"{len(made.units)} of {made.total}", units)
    cards = [
        (f"{costs.tests}", tests),
        (
            number(costs.prompts_judged),
            f"prompts judged · {number(costs.prompts_spared)} spared by stopping early",
        ),
        (number(costs.tokens), f"tokens decoded{_reused(costs)}"),
        (seconds(costs.seconds), _clock(costs)),
        now_dsr,
        _left(now, ended),
    ]
    inner = joined(html("<div><b>{}</b><span>{}</span></div>", big, small) for big, small in cards)
    return html('<div class="meter" role="status" aria-label="Cost of the search">{}</div>', inner)


def _reused(costs: Costs) -> str:
    """How much of the prompts' reading was spared, once there is some."""
    read, known = costs.work.get("prefilled", 0.0), costs.work.get("reused", 0.0)
    if not read + known:
        return ""
    return f" · {percent(known / (read + known), 0)} of reading prompts spared"


def _clock(costs: Costs) -> str:
    if costs.gpu_seconds:
        return f"elapsed, pauses not counted · {costs.gpu_seconds:.1f}{THIN}GPU-s"
    return "elapsed, pauses not counted"


def _left(now: SearchProgress, ended: str) -> tuple[str, str]:
    if now.state == "paused":
        return "paused", "nothing is lost"
    if now.state != "running":
        off = now.costs.eta_error
        told = f" · guesses of the time were off by {percent(off, 0)}" if off is not None else ""
        if ended.startswith(("stopped", "budget")):
            return "stopped", "what was judged is kept, and not asked again"
        word = {"done": "done", "failed": "ended"}.get(now.state, "ready")
        return word, f"nothing left to test{told}"
    guess = about(now.eta) if now.eta is not None else ""
    spent = now.costs.seconds
    line = bar(spent / (spent + now.eta) if now.eta else None)
    if now.left is None:
        phase = PHASES.get(now.phase, now.phase).partition(":")[0]
        if now.confidence is not None:  # the phase is that of the last question answered
            under_way = stage_now(now.confidence.as_dict())
            phase = under_way.lower() if under_way else phase
        return phase or "starting", guess + line
    if now.costs.all_recalled:  # a guess of what is left would stand for less than a second
        return "from memory", "what was judged before is not asked again" + line
    low, high = now.left
    many = f"{low} to {high}" if low < high else f"≤{THIN}{high}"
    return many, f"tests left{' · ' + guess if guess else ''}" + line
