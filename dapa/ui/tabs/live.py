"""A running search as HTML: the cost meter, a row per test, the DSR of each test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from dapa.records import Mask, Outcome, Trial
from dapa.search.report import SearchProgress
from dapa.ui.parts import THIN, bar, names, number, seconds, title, two

_PHASES = {
    "opening": "before the search: the student, and every unit",
    "search": "search",
    "certificate": "certificate: each unit left out",
    "superset": "larger sets: does adding undo it?",
    "full-length": "again at full length",
    "held-out": "held-out prompts",
}
_WORDS = {
    "pass": "still refuses",
    "fail": "does not",
    "open": "not yet decided",
    "measured": "measured, not held against the target",
}


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
        (number(costs.tokens), "tokens decoded"),
        (seconds(costs.seconds), "elapsed, pauses not counted"),
        (dsr_text(best) if best else "–", f"DSR now{' · ' + scores if scores else ''}"),
        _left(now),
    ]
    inner = "".join(f"<div><b>{big}</b><span>{small}</span></div>" for big, small in cards)
    return f'<div class="meter" role="status" aria-label="Cost of the search">{inner}</div>'


def _left(now: SearchProgress) -> tuple[str, str]:
    if now.state == "paused":
        return "paused", "nothing is lost"
    if now.state != "running":
        return {"done": "done", "failed": "ended"}.get(now.state, "ready"), "nothing left to test"
    about = f" · about {seconds(now.eta)}" if now.eta is not None else ""
    spent = now.costs.seconds
    line = bar(spent / (spent + now.eta) if now.eta else None)
    if now.left is None:
        return _PHASES.get(now.phase, now.phase).partition(":")[0] or "starting", f"{about}{line}"
    return f"≤{THIN}{now.left[1]}", f"tests left{about}{line}"


def grid(trials: Sequence[Trial], layers: Sequence[int], asking: Sequence[Outcome] = ()) -> str:
    """A row per question, a column per unit's layer; filled: transplanted.

    Args:
        trials: The log so far.
        layers: The layers that the search may move, ascending: the columns.
        asking: What is being judged now; drawn as open rows.
    """
    column = {layer: i for i, layer in enumerate(layers)}
    parts = []
    cut = None
    for phase, group in groupby(trials, key=lambda trial: trial.phase):
        parts.append(f'<p class="phase">{_PHASES.get(phase, phase)}</p>')
        for trial in group:
            cuts = trial.granularity is not None and trial.granularity != cut
            cut = trial.granularity if trial.granularity is not None else cut
            parts.append(_row(trial, column, cuts))
    for outcome in asking[:2]:
        label = f"being judged: {outcome.judged} of {outcome.asked} prompts"
        parts.append(
            f'<div class="test open" role="listitem" aria-label="{label}"><b>…</b>'
            f"{_cells(outcome.mask, column)}<em>{outcome.judged}/{outcome.asked}</em></div>"
        )
    axis = "".join(f"<i>{layer}</i>" for layer in layers)
    return (
        f'<div class="tests" role="list" aria-label="Tests" style="--n:{max(1, len(layers))}">'
        f'{"".join(parts)}</div><div class="test axis" aria-hidden="true" '
        f'style="--n:{max(1, len(layers))}"><b></b><span class="cells">{axis}</span><em></em></div>'
    )


def _kind(outcome: Outcome) -> str:
    """pass, fail, measured (in full, outside the search) or open."""
    if outcome.satisfied is None:
        return "measured" if outcome.full else "open"
    return "pass" if outcome.satisfied else "fail"


def _row(trial: Trial, column: dict[int, int], cuts: bool) -> str:
    outcome = trial.outcome
    kind = _kind(outcome)
    memo = " memo" if trial.memo else ""
    chunks = f", cut into {trial.granularity} chunks" if trial.granularity else ""
    tip = (
        f"{names(outcome.mask.units) if outcome.mask.entries else 'nothing'} transplanted: "
        f"{_WORDS[kind]}, DSR {dsr_text(outcome)}, {outcome.judged} of "
        f"{outcome.asked} prompts judged{chunks}{', from memory' if trial.memo else ''}"
    )
    return (
        f'<div class="test {kind}{memo}{" cut" if cuts else ""}" role="listitem" title="{tip}" '
        f'aria-label="Test {trial.index}: {tip}"><b>{trial.index}</b>'
        f"{_cells(outcome.mask, column)}<em>{dsr_text(outcome)}</em></div>"
    )


def _cells(mask: Mask, column: dict[int, int]) -> str:
    """The transplanted layers as segments; neighbours are drawn as one."""
    places = sorted({column[layer] for layer in mask.layers if layer in column})
    width = 100 / max(1, len(column))
    segments = []
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        cells = [place for _, place in run]
        segments.append(
            f'<i style="left:{cells[0] * width:.3f}%;width:{len(cells) * width:.3f}%"></i>'
        )
    return f'<span class="cells">{"".join(segments)}</span>'


LEGEND = (
    '<span class="legend">A row is one test, a column one layer. Filled: transplanted.'
    '<i class="pass"></i>still refuses<i class="fail"></i>does not'
    '<i class="memo"></i>from memory</span>'
)


_HOW = "Dots still refuse, triangles do not; a line spans what was left unasked."


def curve(now: SearchProgress) -> str:
    """The DSR of each test as a small drawing; whiskers where only bounds are known."""
    trials = [t for t in now.trials if t.phase in ("opening", "search", "certificate", "superset")]
    wide, high, left, top, right = 380, 180, 26, 10, 62
    inner_w, inner_h = wide - left - right, high - top - 26

    def x(i: int) -> float:
        return left + inner_w * (i + 0.5) / max(12, len(trials))

    def y(value: float) -> float:
        return top + inner_h * (1 - value)

    marks = []
    for i, trial in enumerate(trials):
        low, up = trial.outcome.bounds
        passed = trial.outcome.satisfied
        kind = {True: "pass", False: "fail", None: "open"}[passed]
        cx, cy = x(i), y(low if passed else up)
        line = f'<path class="whisker" d="M{cx:.1f} {y(low):.1f}V{y(up):.1f}"/>' if up > low else ""
        dot = (
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.4"/>'
            if passed
            else f'<path d="M{cx:.1f} {cy - 4:.1f}l4 7h-8z"/>'
        )
        tip = f"<title>test {trial.index}: DSR {dsr_text(trial.outcome)}</title>"
        marks.append(f'<g class="{kind}">{tip}{line}{dot}</g>')
    goal = ""
    if now.target is not None:
        goal = (
            f'<path class="goal" d="M{left} {y(now.target):.1f}H{wide - right}"/>'
            f'<text x="{wide - right + 6}" y="{y(now.target) + 4:.1f}">target '
            f"{two(now.target)}</text>"
        )
    ticks = "".join(
        f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        f'<path class="rule" d="M{left} {y(v):.1f}H{wide - right}"/>'
        for v in (0, 0.5, 1)
    )
    return (
        f"{title('DSR of each test', _HOW)}"
        f'<svg class="curve" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-label="DSR of {len(trials)} tests">{ticks}{goal}{"".join(marks)}'
        f'<text x="{left + inner_w / 2}" y="{high - 4}" text-anchor="middle">test</text></svg>'
    )
