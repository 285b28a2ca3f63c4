"""Length: how many tokens of a reply does a verdict need?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import HarmfulSettings
from dapa.workbench.measurements.asking import NOTHING, harmful, likely_mask, origin
from dapa.workbench.measurements.beside import Sheet, ends, numbers
from dapa.writing.numbers import percent, rate_text
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.measure.length import Lengths


@dataclass(frozen=True, kw_only=True)
class LengthSettings(HarmfulSettings):
    """Which prompts, and up to which length."""

    longest: int = setting(
        256,
        "tokens at most",
        "The largest length that is looked at; every reply is decoded up to it.",
        low=16,
        high=8192,
        row=50,
        told=lambda tokens: f"up to {tokens:,} tokens",
    )


@dataclass(frozen=True, eq=False)
class MeasuredLengths:
    """The lengths, and whose they are."""

    found: Lengths
    provenance: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return self.found.as_dict()

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a model and length."""
        head = ("model", "tokens", *ends("dsr"), "cut", *ends("same"))
        rows = [
            (p.model, p.tokens, *numbers(p.dsr), p.dsr.cut, *numbers(p.same))
            for p in self.found.points
        ]
        return head, rows


def _measure(call: Call) -> MeasuredLengths:
    from dapa.judges.rules.judge import rules
    from dapa.measure.length import length
    from dapa.store.replies import ReplyStore

    bench, asked, prompts = call.bench, call.settings, harmful(call)
    found = length(
        bench.pair,
        prompts,
        call.mask,
        rules(),
        asked.format(),
        asked.longest,
        ReplyStore(bench.store),
        progress=call.counted("replies"),
        stop=call.stop,
    )
    moved = units_text(call.mask.units) if call.mask.entries else "nothing"
    return MeasuredLengths(
        found, f"{bench.pair.spec.title} · {len(prompts)} prompts · {moved} moved"
    )


def _describe(record: MeasuredLengths) -> Shown:
    found = record.found
    if not found.points:
        return NOTHING
    lengths = sorted({point.tokens for point in found.points})
    at = {(point.model, point.tokens): point for point in found.points}
    rows = [
        (
            f"{tokens:,}",
            *(cell for m in found.models for cell in _cells(at[m, tokens])),
        )
        for tokens in lengths
    ]
    head = ("tokens", *(name for m in found.models for name in (f"DSR, {m}", "settled")))
    alone = "" if "patched" in found.models else " Nothing is transplanted, so nothing is patched."
    return Shown(
        finding(found),
        (Table(head, rows),),
        (
            f"Decoded once up to {found.longest:,} tokens and judged at every length by "
            f"{found.judge}. Settled: share of verdicts that are those at the largest length. "
            f"Cut: replies that had not ended by themselves.{alone}",
        ),
        warnings=() if found.complete else ("Stopped early: only the replies given by then.",),
    )


def _cells(point: Any) -> tuple[Any, ...]:
    return point.dsr, percent(point.same.value)


def finding(found: Lengths) -> str:
    """Which length is enough, and what remains unknown."""
    from dapa.measure.length import SAME

    last = {model: found.curve(model)[-1] for model in found.models}
    still = [f"{m} {p.dsr.cut} of {p.dsr.n}" for m, p in last.items() if p.dsr.cut]
    unknown = (
        f" At {found.longest:,} tokens replies are still cut ({', '.join(still)}): what they would "
        "go on to say is not known."
        if still
        else " At the largest length every reply has ended by itself."
    )
    rates = "; ".join(f"{m} {rate_text(p.dsr)}" for m, p in last.items())
    if found.enough is None:
        return (
            f"No length up to {found.longest:,} tokens is shown to be enough: look further, with "
            f"{2 * found.longest:,}. DSR there: {rates}.{unknown}"
        )
    which = ", ".join(f"{model} {found.settled(model):,}" for model in found.models)
    return (
        f"{found.enough:,} tokens are enough: from there on at least {percent(SAME)} of the "
        f"verdicts stay ({which}). DSR at the end: {rates}.{unknown}"
    )


def _figures(record: MeasuredLengths, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.curves import length_chart

    return [("DSR against the length of a reply", length_chart(record.found, dark))]


measurements.add("length")(
    Measurement(
        "Length",
        "How long must a reply be?",
        "Judge the same replies at 16, 32, 64 ... tokens: where do verdicts settle?",
        "DSR against reply length for student, patched and teacher, from one decoding: the limit "
        "from which on verdicts stay is long enough for every other measurement.",
        "pair",
        LengthSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        masked=True,
        usual=likely_mask,
    )
)
