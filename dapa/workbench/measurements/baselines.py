"""Baselines: what else would have raised refusals, with the same oracle and budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dapa.core.measurement import Call, Dots, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, ends, listed, numbers
from dapa.writing.confidence import points
from dapa.writing.numbers import duration, p_text, percent, rate_text

if TYPE_CHECKING:
    from dapa.measure.baselines import Baselines
    from dapa.measure.comparisons import Comparison
    from dapa.measure.placebos import Placebos

_SHARE = 0.75
"""The share of the work that the baselines are; the placebos are the rest."""
_LEVEL = 0.05
_LOOKS: dict[str, Literal["blue", "orange", "grey", "open"]] = {
    "found": "blue", "reference": "grey", "baseline": "grey", "placebo": "open",
}  # fmt: skip
MARKS = "upper: held out, lower: search"
"""What the two dots of a row are; with the dots it leaves where there is no picture."""
_RATES = ("search", "held_out", "over_refusal", "incoherent", "kl", "kl_first", "gain")


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(Settings):
    """What each method may spend, and what stands beside them."""

    tests: int | None = setting(
        None,
        "tests a method",
        "Tests each method may spend; the search's own by default.",
        low=1,
        high=10**9,
        told=lambda tests: f"{tests:,} tests a method" if tests else "as many tests as the search",
    )
    shams: bool = setting(
        True,
        "shams too",
        "Measure sham transplants too.",
        told=lambda shams: "with shams" if shams else "without shams",
    )


@dataclass(frozen=True, eq=False)
class BesideBaselines(Beside["Baselines"]):
    """The table of baselines, with shams below where they were asked for."""

    shams: Placebos | None = None
    given: int | None = None
    """The budget, where it is not the search's own."""

    @property
    def rows(self) -> tuple[Comparison, ...]:
        """Every row, shams last."""
        return (*self.found.rows, *(own_shams(self.shams) if self.shams is not None else ()))

    def body(self) -> dict[str, Any]:
        """The baselines' own form, and the placebos'."""
        beside = {} if self.shams is None else {"placebos": self.shams.as_dict()}
        return {**self.found.as_dict(), **beside}

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a way to change the student."""
        return comparison_sheet(self.rows)


def _measure(call: Call) -> BesideBaselines:
    job, harmless = call.job, call.job.settings.harmless
    whole = call.settings.shams and bool(job.report and job.report.units)
    first = _SHARE if whole else 1.0
    found = call.bench.baselines(
        job,
        harmless,
        tests=call.settings.tests,
        progress=call.part("baseline", 0.0, first),
        stop=call.stop,
    )
    if not whole or call.stop.is_set():
        return BesideBaselines.of(call, found, given=call.settings.tests)
    shams = call.bench.placebos(
        job, harmless, progress=call.part("placebo", first, 1.0), stop=call.stop
    )
    return BesideBaselines.of(call, found, shams=shams, given=call.settings.tests)


def _describe(record: BesideBaselines) -> Shown:
    found, shams = record.found, record.shams
    rows = [row for row in found.rows if row.role in ("found", "reference")]
    rows += sorted(
        (row for row in found.rows if row.role == "baseline"), key=lambda r: -_telling(r)
    )
    same = ", as many as the search took" if record.given is None else ""
    tables = [comparison_table(rows)]
    if shams is not None:
        tables.append(
            comparison_table(
                own_shams(shams),
                "Placebos: changes as large, in the same place, without the meaning",
                sham_finding(shams),
            )
        )
    return Shown(
        finding(found),
        tuple(tables),
        (
            f"Every method could spend {found.tests:,} tests{same}. "
            "p: exact "
            "paired McNemar against the found set on held-out prompts, Holm-adjusted.",
        ),
        tuple(remarks_on((*rows, *(own_shams(shams) if shams else ())))),
    )


def finding(found: Baselines) -> str:
    """The table in one sentence, hedged where the paired test sees no difference."""
    best = max(
        (r for r in found.rows if r.role == "baseline" and 0 < len(r.mask) <= found.size),
        key=_telling,
        default=None,
    )
    mine = next((row for row in found.rows if row.name == "found"), None)
    if best is None or mine is None:
        return "Too little was measured to compare."
    ours, theirs = mine.held_out or mine.search, best.held_out or best.search
    if ours is None or theirs is None:
        return "Too little was measured to compare."
    where = "held-out" if mine.held_out else "search"
    both = f"{rate_text(theirs)} against the found set's {rate_text(ours)} on {where} prompts"
    head = f"Of the simpler choices that move no more, the best is “{best.title}”: {both}"
    if best.p_value is None or best.p_value > _LEVEL:
        return f"{head}; no clear difference, so the found set is not shown to be special."
    word = "less" if theirs.value < ours.value else "more"
    return f"{head}; clearly {word}."


def _telling(row: Comparison) -> float:
    best = row.held_out or row.search
    return best.value if best else -1.0


# -- rows of baselines and placebos alike ----------------------------------------------------------


def own_shams(shams: Placebos) -> tuple[Comparison, ...]:
    """The shams alone, without student and found set."""
    return tuple(row for row in shams.rows if row.role == "placebo")


def sham_finding(shams: Placebos) -> str:
    """Do shams raise refusals?"""
    own = own_shams(shams)
    if not own:
        return "No sham was measured."
    effects = [row.title for row in shams.effects]
    if effects:
        return (
            f"{len(effects)} of {len(own)} raise refusals over the student's: {', '.join(effects)}."
        )
    highest = max((row.gain for row in own if row.gain is not None), key=lambda g: g.high)
    return (
        f"None of {len(own)} raises refusals clearly: the largest gain over the student could be "
        f"{points(highest.high)} at most (95 % intervals)."
    )


def comparison_table(rows: Sequence[Comparison], title: str = "", about: str = "") -> Table:
    """Ways to change the student, a row each."""
    head = (
        "what", f"DSR, 0 to 100 %\n{MARKS}", "held out", "search", "units", "share", "over-refusal",
        "incoherent", "KL, bits a token", "p", "tests", "tokens", "time",
    )  # fmt: skip
    strong = frozenset(i for i, row in enumerate(rows) if row.role == "found")
    lines = [_cells(row) for row in rows]
    if any(row.match for row in rows):
        head = (*head[:1], "change of activations\nfound set = 1", *head[1:])
        lines = [(line[0], _match(row), *line[1:]) for line, row in zip(lines, rows, strict=True)]
    return Table(head, lines, title, about, strong, kind="rivals")


def _match(row: Comparison) -> str | None:
    """A sham's change of activations, as a share of the found set's, with the sites' range."""
    if row.match is None:
        return "1" if row.role == "found" else None
    found = row.match
    span = "" if found.sites == 1 else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{span}" + ("" if found.holds else ", not matched")


def _cells(row: Comparison) -> tuple[Any, ...]:
    marks = tuple(
        (value, "open" if name == "search split" else _LOOKS[row.role], name)
        for name, value in (("held out", row.held_out), ("search split", row.search))
        if value is not None
    )
    spent = row.spent
    return (
        row.title,
        Dots(marks),
        row.held_out,
        row.search,
        len(row.mask) if row.share else 0,
        None if row.share is None else percent(row.share, 1),
        row.over_refusal,
        row.incoherent,
        None if row.kl is None else f"{row.kl.value:.3f}",  # its interval is in the files
        p_text(row.p_value),
        spent.tests or None,
        spent.tokens or None,
        duration(spent.seconds) if spent.seconds >= 0.05 else None,
    )


def remarks_on(rows: Sequence[Comparison]) -> Iterator[str]:
    """What there is to know about single rows."""
    return (f"{row.title}: {row.note}" for row in rows if row.note)


def comparison_sheet(rows: Sequence[Comparison]) -> Sheet:
    """Headers and rows of a file: every number of every row."""
    head = (
        "name", "title", "role", "units", "share", *(end for name in _RATES for end in ends(name)),
        "p_value", "tests", "tokens", "seconds", "note", "match", "match_low", "match_high",
    )  # fmt: skip
    lines = [
        (
            row.name, row.title, row.role, listed(row.mask.units), row.share,
            *(end for name in _RATES for end in numbers(getattr(row, name))),
            row.p_value, row.spent.tests, row.spent.tokens, row.spent.seconds, row.note,
            *((row.match.value, row.match.low, row.match.high) if row.match else (None,) * 3),
        )
        for row in rows
    ]  # fmt: skip
    return head, lines


def _refuses(job: Any) -> str:
    report = job.report
    found = report is not None and report.need
    return "" if found else "nothing was found that could be compared; search again"


measurements.add("baselines")(
    Measurement(
        "Baselines",
        "The found set beside everything simpler, and beside shams",
        "Put the found set beside everything simpler, and beside shams, with the same budget.",
        "Same judge, same budget of tests, whole replies. A row is one way to change the student.",
        "search",
        BaselineSettings,
        _measure,
        _describe,
        refuses=_refuses,
    )
)
