"""A command of every measurement: its options, progress, what it says and what it writes.

The table of measurements is all that is read; a new one needs nothing here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.given import GivenSet
from dapa.cli.output import one_line, progress, table
from dapa.cli.searching import watch
from dapa.cli.signature import options
from dapa.core.masks import EMPTY
from dapa.core.measurement import Call, Dots, Measurement, Table
from dapa.core.records import Rate, SettingError
from dapa.workbench import PairOptions, SearchSettings
from dapa.workbench.measurements import measurements
from dapa.writing.numbers import plain, rate_text

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
        groups["search"] = SearchSettings
    if one.of == "search" and one.masked:
        groups["instead"] = GivenSet
    elif one.masked:
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
    moved, search, instead = given.get("moved"), given.get("search"), given.get("instead")
    kind = next((g.sites for g in (moved, given.get("of_kind")) if g is not None), "")
    named = moved is not None and moved.names
    mask, units, run = EMPTY, "", ""
    if moved is not None:
        mask, units = moved.mask(), moved.units
    if search is not None:
        kind = search.kind
    if instead is not None:
        mask, units, run = instead.mask(kind), instead.units, instead.run
        if run and not mask.entries:
            raise SettingError(
                "--run says which search found the set; give --layers or --units too"
            )
    spec = o.spec_for(given["pair"], kind, units)
    from dapa.workbench import Halted, Workbench

    bench = Workbench(run_dir)
    with progress() as report, exports.stoppable() as stop:
        job = None
        if one.of != "files":
            bench.load(spec, report)
        if search is not None and not mask.entries:
            job = bench.search_job(search)
            watch(job, report)
            if why := one.refuses(job):
                raise SettingError(why)
            if one.cost is not None:
                print(one_line(one.cost(job, given["settings"])), file=sys.stderr)
        if one.usual is not None and not named:
            mask = one.usual(bench, kind)
        kind = kind or "gate"
        call = Call(
            bench, given["settings"], report, stop, kind, mask, spec, page, job, search, run
        )
        if one.cost is not None and search is None:
            print(one_line(one.cost(call, given["settings"])), file=sys.stderr)
        try:
            found = one.run(call)
        except Halted:  # stopped before there was anything to tell
            raise typer.Exit(130) from None
    if job is not None and not stop.is_set():
        bench.keep(job.id, _name(one), found)
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
        *(found.origin, told.finding, *_tables(told.tables), *told.notes, *told.remarks),
        note=one.how,
    )


def _name(one: Measurement) -> str:
    """What a measurement is called in the table."""
    return next(name for name in measurements if measurements[name] is one)


def _tables(tables: tuple[Table, ...]) -> Iterator[RenderableType]:
    """The tables of a terminal: without the columns that only a page can draw."""
    for one in tables:
        kept = [
            i for i in range(len(one.head)) if not any(isinstance(row[i], Dots) for row in one.rows)
        ]
        shared = one.counts
        head = [_head(one.head[i], shared[i]) for i in kept]
        rows = [[_cell(row[i], shared[i] is None) for i in kept] for row in one.rows]
        yield table(head, rows, one.title, one.strong)
        if one.about:
            yield one.about


def _head(name: str, shared: int | None) -> str:
    """A column's name, with the n of all its rates unless it says that itself."""
    said = f"n = {shared:,}" if shared else ""
    return name if name.endswith(said) else f"{name}, {said}"


def _cell(value: Any, with_n: bool) -> Any:
    if isinstance(value, Rate) and not with_n:
        return rate_text(value, with_n=False)
    return plain(value, 1e-4) if isinstance(value, float) else value
