"""A command of every measurement: its options, progress, what it says and what it writes.

The table of measurements is all that is read; a new one needs nothing here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import Report, one_line, progress, table
from dapa.cli.searching import watch
from dapa.cli.signature import options
from dapa.core.masks import EMPTY
from dapa.core.measurement import Call, Dots, Measurement, Table
from dapa.core.settings import Settings, setting
from dapa.workbench import PairOptions
from dapa.workbench.measurements import measurements

if TYPE_CHECKING:
    from dapa.workbench import Workbench

_RUNS = Path("runs")


def measuring() -> Iterator[tuple[str, Callable[..., None]]]:
    """Name and function of every measurement's command, in the order of the table."""
    for name in measurements:
        one = measurements[name]
        if one.command != "-":
            yield one.command or name, command(one)


def command(one: Measurement) -> Callable[..., None]:
    """The command of one measurement."""
    groups: dict[str, Any] = {"pair": PairOptions}
    if one.of == "search":
        groups["search"] = SearchOptions
    if one.masked:
        groups["moved"] = o.MaskOptions
    elif one.by_kind:
        groups["of_kind"] = o.KindOptions
    groups["settings"] = one.settings
    plain: dict[str, tuple[Any, Any]] = {"json": (o.Json, None), "html": (Html, None)}
    plain["csv"] = (Csv, None)
    if one.of != "files":
        plain = {"run_dir": (o.RunDir, _RUNS), **plain}

    def run(
        json: str | None, html: str | None, csv: str | None, run_dir: Path = _RUNS, **given: Any
    ) -> None:
        _run(one, Exports(json, html, csv), run_dir, given, html is not None)

    kind = inspect.Parameter.KEYWORD_ONLY
    run.__doc__, run.__name__ = one.asks, one.title
    run.__annotations__ = {**groups, **{name: hint for name, (hint, _) in plain.items()}}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(inspect.Parameter(name, kind, annotation=cls) for name, cls in groups.items()),
            *(
                inspect.Parameter(name, kind, default=default, annotation=hint)
                for name, (hint, default) in plain.items()
            ),
        ]
    )
    return options(run)


def _run(
    one: Measurement, exports: Exports, run_dir: Path, given: dict[str, Any], page: bool
) -> None:
    """Measure, say, write; what is wrong with an option is said before any work."""
    moved, search = given.get("moved"), given.get("search")
    kind = next((g.sites for g in (moved, given.get("of_kind"), search) if g is not None), "")
    named = moved is not None and moved.names
    mask = EMPTY if moved is None else moved.mask()
    spec = o.spec_for(given["pair"], kind, moved.units if moved is not None else "")
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    with progress() as report, exports.stoppable() as stop:
        job = None
        if one.of != "files":
            bench.load(spec, report)
        if search is not None:
            job = _searched(bench, search, report)
        if one.usual is not None and not named:
            mask = one.usual(bench, kind)
        found = one.run(
            Call(bench, given["settings"], report, stop, kind or "gate", mask, spec, page, job)
        )
    told = one.describe(found.record)
    for line in told.warnings:
        print(one_line(line), file=sys.stderr)

    def drawings() -> list[tuple[str, Any]]:
        pictures = one.figures(found.record, False) if one.figures is not None else ()
        return [(caption[:1].upper() + caption[1:], figure) for caption, figure in pictures]

    exports.result(
        found.record.as_dict(),
        one.heading,
        found.origin,
        found.record.table(),
        drawings,
        *(found.origin, told.finding, *_tables(told.tables), *told.notes),
        note=one.how,
    )


def _tables(tables: tuple[Table, ...]) -> Iterator[RenderableType]:
    """The tables of a terminal: without the columns that only a page can draw."""
    for one in tables:
        kept = [
            i for i in range(len(one.head)) if not any(isinstance(row[i], Dots) for row in one.rows)
        ]
        rows = [[_cell(row[i]) for i in kept] for row in one.rows]
        yield table([one.head[i] for i in kept], rows, one.title, one.strong)
        if one.about:
            yield one.about


def _cell(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Settings):
    """The search that is measured: run first, or answered from the run store."""

    sites: str = setting("gate", "kind of site", o.SITES)
    algorithm: str | None = setting(None, "algorithm", "The search's algorithm.")
    retain: float = setting(0.9, "share to keep", "Share of the full mask's gain to keep.")
    prompts: str | None = setting(
        None, "harmful prompts", "Harmful prompts: a file, or a bundled set's name.", file=True
    )
    max_new_tokens: int = setting(48, "max new tokens", "Tokens of a reply at most.")
    prompt_limit: int | None = setting(
        None, "prompt limit", "At most so many prompts, drawn by category and seed."
    )
    seed: int = setting(0, "seed", "Splits, samples and random choices follow it.")

    def settings(self) -> Any:
        """As a search takes them."""
        from dapa.workbench import SearchSettings

        asked = {k: v for k, v in self.as_dict().items() if k != "sites" and v is not None}
        return SearchSettings(kind=self.sites, **asked)


def _searched(bench: Workbench, search: SearchOptions, report: Report) -> Any:
    """The search behind the measurement, run to its end."""
    job = bench.search_job(search.settings())
    watch(job, report)
    return job
