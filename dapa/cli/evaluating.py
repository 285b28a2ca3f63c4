"""`evaluate`: the one table of student, patched, teacher and saved masks, and its replies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.output import Output, progress, table
from dapa.cli.signature import options
from dapa.core.records import Mask, SettingError
from dapa.workbench import EvaluationSettings, PairOptions
from dapa.writing.numbers import plain, rate_text
from dapa.writing.sentences import ENDED_FIRST, cut_sentence

if TYPE_CHECKING:
    from dapa.workbench import Evaluation

Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="NAME=UNITS",
        help="A further column: layers of --sites (best=3,5) or units (mix=3.gate,5.mlp@0.5).",
    ),
]
_TITLES = {
    "dsr": "DSR",
    "dsr_search": "DSR, search set",
    "over_refusal": "over-refusal",
    "borderline": "over-refusal, borderline",
    "incoherent": "incoherent",
    "unclear": "unclear",
    "skill": "skill, exact match",
    "harm": "harmful (second axis)",
}


@options
def evaluate(
    pair: PairOptions,
    moved: o.MaskOptions,
    settings: EvaluationSettings,
    mask: Masks = None,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Put prompt sets through student, patched, teacher and saved masks, into one table.

    Ctrl-C stops it; the same command again, or `dapa runs resume ID`, goes on where it was.
    """
    output = Output(json)
    saved = {name: one.key for name, one in saved_masks(mask or (), moved.sites).items()}
    asked = replace(settings, mask=moved.mask().key, saved=saved)
    spec = o.spec_for(pair, moved.sites, moved.units)
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    asked = bench.of_run(asked)
    with progress() as report, stopping() as stop:
        bench.load(spec, report)
        found = bench.evaluation(asked, report, stop)
    output.result(found.as_dict(), *told(found))
    if stop.is_set():
        raise typer.Exit(130)


def saved_masks(given: Sequence[str], kind: str) -> dict[str, Mask]:
    """`NAME=UNITS` as masks; SettingError for a name without units or twice the same."""
    found: dict[str, Mask] = {}
    for item in given:
        name, mark, units = item.partition("=")
        if not mark or not name.strip() or name in found:
            raise SettingError(
                f"{item[:60]!r} names no new mask; write NAME=UNITS, as in best=3,5 or best=3.gate"
            )
        plain = "." not in units
        found[name.strip()] = (
            o.mask_of(o.parse_layers(units), kind) if plain else o.parse_units(units)
        )
    return found


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(*_: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def told(found: Evaluation) -> list[RenderableType]:
    """The table for people, the comparisons that are sure, and what to know besides."""
    models = found.models
    rows: list[list[Any]] = []
    for measure, title in _TITLES.items():
        rates = [found.rate(model, measure) for model in models]
        if any(rates):
            title += f", {found.asked}" if measure == "dsr" else ""
            rows.append([title, *map(_rate, rates), _n(rates)])
        kinds = [found.over_kinds(model, measure) for model in models]
        if any(kinds):
            of = "questions" if measure == "skill" else "harm" if "dsr" in measure else "prompts"
            rows.append([f"  over kinds of {of}", *map(_rate, kinds), f"{_n(kinds)} kinds"])
    for name in found.wraps:
        rates = [found.rate(model, f"wrap:{name}") for model in models]
        rows.append([f"DSR, {name}", *map(_rate, rates), _n(rates)])
    if found.perplexity:
        told_of = [found.perplexity.get(model) for model in models]
        text = next(p for p in told_of if p is not None)
        rows.append([f"perplexity, {text.text}", *(p and _number(p) for p in told_of), text.n])
        rows.append(["bits per byte", *(p and f"{p.bits_per_byte:.3f}" for p in told_of)])
    if found.kl:
        kls = [found.kl.get(model) for model in models]
        rest, first = ([k and getattr(k, part) for k in kls] for part in ("kl", "first"))
        rows.append(["KL to the student, bits per token", *map(_number, rest), _n(rest)])
        rows.append(["KL at the first position, bits", *map(_number, first), _n(first)])
    for task in dict.fromkeys(name for tasks in found.tasks.values() for name in tasks):
        rows.append([task, *(_metrics(found.tasks.get(model, {}).get(task)) for model in models)])
    many = cut_sentence(found.cut, found.limit)
    shown: list[RenderableType] = [many] if many else []
    shown.append(table(("measure", *models, "n"), rows))
    sure = [row for row in found.paired() if row.adjusted <= 0.05]
    if sure:
        lines = [
            (_TITLES.get(r.measure, r.measure), f"{r.a} to {r.b}", _points(r.gain), r.lost,
             r.gained, f"{r.adjusted:.2g}")
            for r in sure
        ]  # fmt: skip
        headers = ("differs surely", "from", "points", "lost", "gained", "McNemar, Holm")
        shown.append(table(headers, lines))
    shown += found.notes
    if not found.complete:
        shown.append(f"Stopped early: the rates are over what was judged. {ENDED_FIRST}")
    shown.append(
        f"Judged by {found.judge}. Every reply: python -m dapa runs replies {found.run} "
        "--model patched --measure dsr"
    )
    return shown


def _rate(rate: Any) -> str | None:
    if rate is None:
        return None
    return rate_text(rate, with_n=False)


def _n(rates: Sequence[Any]) -> str:
    """How many, once where all columns have as many."""
    return " / ".join(str(n) for n in dict.fromkeys(rate.n for rate in rates if rate is not None))


def _number(value: Any) -> str | None:
    if value is None:
        return None
    if value.low is None:
        return plain(value.value)
    return f"{plain(value.value)} [{plain(value.low)}, {plain(value.high)}]"


def _points(gain: Any) -> str:
    return f"{100 * gain.value:+.0f} [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]"


def _metrics(found: Mapping[str, Any] | None) -> str | None:
    """One lm-eval task's metrics."""
    if found is None:
        return None
    return ", ".join(f"{name} {plain(told['value'])}" for name, told in found.items())
