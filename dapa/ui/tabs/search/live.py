"""A running search's cost meter: what was spent, what was saved, what is to come."""

from __future__ import annotations

from dapa.core.records import Outcome
from dapa.search.engine.report import Costs, SearchProgress
from dapa.ui.parts import THIN, bar, number, percent, seconds, two
from dapa.writing.costs import PHASES


def dsr_text(outcome: Outcome) -> str:
    """A DSR, or the bound that settled it."""
    if outcome.dsr is not None:
        return two(outcome.dsr)
    low, high = outcome.bounds
    return f"≥{THIN}{two(low)}" if outcome.satisfied else f"≤{THIN}{two(high)}"


def meter(now: SearchProgress) -> str:
    """The cost cards: what was spent, what was saved, what is to come."""
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
    cards = [
        (f"{costs.tests}", tests),
        (
            number(costs.prompts_judged),
            f"prompts judged · {number(costs.prompts_spared)} spared by stopping early",
        ),
        (number(costs.tokens), f"tokens decoded{_reused(costs)}"),
        (seconds(costs.seconds), _clock(costs)),
        (dsr_text(best) if best else "–", f"DSR now{' · ' + scores if scores else ''}"),
        _left(now),
    ]
    inner = "".join(f"<div><b>{big}</b><span>{small}</span></div>" for big, small in cards)
    return f'<div class="meter" role="status" aria-label="Cost of the search">{inner}</div>'


def _reused(costs: Costs) -> str:
    """How much of the prompts' reading was spared, once there is some."""
    read, known = costs.work.get("prefilled", 0.0), costs.work.get("reused", 0.0)
    if not read + known:
        return ""
    return f" · {percent(known / (read + known), 0)} of prefill reused"


def _clock(costs: Costs) -> str:
    if costs.gpu_seconds:
        return f"elapsed, pauses not counted · {costs.gpu_seconds:.1f}{THIN}GPU-s"
    return "elapsed, pauses not counted"


def _left(now: SearchProgress) -> tuple[str, str]:
    if now.state == "paused":
        return "paused", "nothing is lost"
    if now.state != "running":
        off = now.costs.eta_error
        told = f" · guesses were off by {percent(off, 0)}" if off is not None else ""
        word = {"done": "done", "failed": "ended"}.get(now.state, "ready")
        return word, f"nothing left to test{told}"
    about = f"about {seconds(now.eta)}" if now.eta is not None else ""
    spent = now.costs.seconds
    line = bar(spent / (spent + now.eta) if now.eta else None)
    if now.left is None:
        phase = PHASES.get(now.phase, now.phase).partition(":")[0]
        return phase or "starting", f"{about}{line}"
    low, high = now.left
    many = f"{low} to {high}" if low < high else f"≤{THIN}{high}"
    return many, f"tests left{' · ' + about if about else ''}{line}"
