"""`search`: run a job here, watch it, stop it gently on Ctrl-C, and tell what it found."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.confiding import certified
from dapa.cli.output import Output, Report, progress, table
from dapa.cli.signature import options
from dapa.core.records import Removal
from dapa.workbench import PairOptions, SearchSettings
from dapa.writing.claims import (
    basis_text,
    larger_text,
    looks_text,
    smaller_text,
    standing,
    target_text,
)
from dapa.writing.costs import PHASES, cost_lines
from dapa.writing.numbers import count_text, kinds_text, plain
from dapa.writing.sentences import (
    MovedUnits,
    cut_sentence,
    estimate_sentence,
    moved_sentence,
    result_sentence,
    role_text,
)
from dapa.writing.unit_names import unit_name, where_text

if TYPE_CHECKING:
    from dapa.workbench import Recheck, SearchJob, SearchReport

_TICK = 0.25
_LINE_EVERY = 5.0
"""Seconds between progress lines where stderr is no terminal."""
_ROLES = {"best": "the found set", "student": "the student", "full": "all units"}


@options
def search(
    pair: PairOptions,
    settings: SearchSettings,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only tell what it would cost on this machine.")
    ] = False,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Find layers whose transplant keeps the teacher's refusals, none of which can be spared.

    Ctrl-C stops it with the best set so far; a second Ctrl-C ends it at once. Either way nothing
    judged is lost: `dapa runs resume ID` goes on.
    """
    output = Output(json)
    spec = o.spec_for(pair, settings.kind)
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    with progress() as report:
        bench.load(spec, report, settings.beside)
        if estimate:
            report("timing a few replies", None)
            costs = bench.estimate(settings).as_dict()
            output.result(costs, *filter(None, (estimate_sentence(costs), costs["shows"])))
            return
        job = bench.search_job(settings)
        if sys.stderr.isatty():
            print(job.shows, file=sys.stderr)
        found = watch(job, report)
    output.result(body_of(job, found), *told(job, found))
    if job.control.stopped:
        raise typer.Exit(130)


def body_of(job: SearchJob, found: SearchReport) -> dict[str, Any]:
    """The result as JSON: the same keys whether it was searched at once or resumed."""
    kinds = {role: rate.as_dict() for role, rate in job.over_kinds.items()}
    return {"run": job.id, **found.as_dict(), "over_kinds": kinds}


def watch(job: SearchJob, report: Report) -> SearchReport:
    """Run the job in this thread while another tells how far it is."""
    ended = threading.Event()
    teller = threading.Thread(target=_tell, args=(job, report, ended), daemon=True)
    teller.start()
    try:
        with _stopping(job):
            return job.run()
    finally:
        ended.set()
        teller.join()


@contextmanager
def _stopping(job: SearchJob) -> Iterator[None]:
    """The first Ctrl-C asks the search to stop, the second interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        job.control.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(job: SearchJob, report: Report, ended: threading.Event) -> None:
    lines, last = not sys.stderr.isatty(), ""
    while not ended.wait(_LINE_EVERY if lines else _TICK):
        seen = job.progress()
        best = where_text(seen.best)
        phase = PHASES.get(seen.phase, seen.phase).partition(":")[0]
        line = f"{phase}: {count_text(seen.costs.tests, 'test')}, best so far {best}"
        if not lines:
            spent = seen.costs.seconds
            report(line, spent / (spent + seen.eta) if seen.eta else None)
        elif seen.target is not None and line != last:  # not before there is something to find
            print(f"{line}, {seen.costs.seconds:.0f} s", file=sys.stderr)
            last = line


def told(job: SearchJob, found: SearchReport) -> list[RenderableType]:
    """The result for people: a sentence, the rates, the certificate, what to know besides."""
    from dapa.workbench import priors

    helped = [found.helped] if found.helped else []
    if found.confidence is not None:
        return [*certified(job, found), *helped]
    kind, claim = job.unit_kind, found.claimed
    cut = cut_sentence(found.rates, job.settings.max_new_tokens)
    parts: list[RenderableType] = [cut] if cut else []
    parts += [
        result_sentence(
            MovedUnits(
                len(found.units),
                job.total,
                kind,
                found.layers,
                job.share.fraction if job.share else None,
                [unit for unit in found.units if unit.place is None],
            ),
            found.rates.get("student_held_out"),
            found.rates.get("held_out"),
            found.costs.tests,
            found.costs.own_seconds,
            one_minimal=claim.one_minimal,
        ),
        moved_sentence(job.share) if job.share else "",
        f"Ended: {found.stop_reason}. {standing(claim)} "
        f"{_capital(target_text(claim, found.target))}.",
        _rates(job, found),
    ]
    if found.removals:
        rows = [
            (
                f"without {unit_name(r.unit)}",
                f"{r.outcome.defended} of {r.outcome.asked}",
                r.flips,
                _firm(r.unit in claim.firm, r),
            )
            for r in found.removals
        ]
        parts.append(table(("removal", "refused", "prompts from the target", "evidence"), rows))
        parts.append(basis_text(found.removals))
    if found.smaller:
        parts.append(smaller_text(found.smaller))
    flips = [_flip(found, line) for line in found.rechecks if line.lost or line.gained]
    if flips:
        parts.append(f"Refusals that the whole reply took back, or made: {'; '.join(flips)}.")
    if larger := larger_text(found.supersets, found.violations):
        parts.append(larger)
    if found.looks:
        parts.append(looks_text(found.looks))
    parts += _asides(found)
    if job.ranking is not None:
        parts.append(f"Asked in the order of a prior: {priors.titles[job.ranking.name]}.")
    if job.split_note:
        parts.append(f"Search and held-out prompts: {job.split_note}.")
    parts.append(job.shows)
    parts.append(table(("cost", ""), cost_lines(found.costs.as_dict())))
    parts += helped
    parts.append(f"Run {job.id} in {job.store.folder}.")
    return parts


def _rates(job: SearchJob, found: SearchReport) -> RenderableType:
    """Every rate, and beside it the mean over kinds of harm where the prompts have kinds."""
    if not job.over_kinds:
        rates = [(role_text(name), rate) for name, rate in found.rates.items()]
        return table(("DSR of", "rate"), rates)
    count = max(rate.n for rate in job.over_kinds.values())
    rows = [
        (role_text(name), rate, kinds_text(kinds) if (kinds := job.over_kinds.get(name)) else None)
        for name, rate in found.rates.items()
    ]
    return table(("DSR of", "rate", f"mean of kinds, t interval, at most {count} kinds"), rows)


def _asides(found: SearchReport) -> list[RenderableType]:
    """Utility limit, canonical batch shape and fast screen, where they were asked for."""
    told: list[RenderableType] = []
    if found.kl is not None:
        told.append(
            f"KL on harmless prompts: {plain(found.kl['best'])} bits per token (limit "
            f"{found.kl['limit']:g}, all units {plain(found.kl['full'])})."
        )
    if found.canonical:
        flips = [_flip(found, line) for line in found.canonical if line.lost or line.gained]
        told.append(
            "Judged again in the canonical batch shape: "
            + (f"{'; '.join(flips)}." if flips else "every verdict is the same.")
        )
    if found.screen is not None and found.screen["value"] is not None:
        seen = found.screen
        told.append(
            "To save time, a guess from each reply's first word chose what was asked first; it "
            f"decided nothing. Its rank correlation with the verdicts was {seen['value']:.2f} "
            f"[{seen['low']:.2f}, {seen['high']:.2f}] over {seen['n']} replies."
        )
    return told


def _flip(found: SearchReport, line: Recheck) -> str:
    """How the verdicts of one mask changed from the opening to the whole reply."""
    missing = ", ".join(str(unit) for unit in found.units if unit not in line.mask.units)
    who = f"found without {missing}" if line.role == "removal" else _ROLES[line.role]
    return f"{who} {line.lost} lost, {line.gained} gained"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _firm(firm: bool, removal: Removal) -> str:
    word = "firm" if firm else "undecided"
    if removal.basis == "reserve":
        return f"{word}, {removal.more} reserve prompts asked"
    return word + (f", {removal.more} more prompts asked" if removal.more else "")
