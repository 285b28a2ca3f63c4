"""`export`, `apply`: hand a result on as files, and put a patch onto its student."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapa.cli import options as o
from dapa.cli.output import Output, progress
from dapa.cli.signature import options
from dapa.core.records import SettingError
from dapa.workbench import OF_A_RUN, ExportSettings, PairOptions
from dapa.writing.numbers import count_text, size_text

if TYPE_CHECKING:
    from dapa.workbench import Made, PairSpec, Workbench

To = Annotated[str, typer.Option(help="A folder that does not exist yet.")]


@options
def export(
    pair: PairOptions,
    moved: o.MaskOptions,
    settings: ExportSettings,
    to: To = "",
    run: Annotated[
        str, typer.Option(metavar="ID", help="A stored run: its pair, its set, what it measured.")
    ] = "",
    push: Annotated[
        str,
        typer.Option(
            metavar="ORG/NAME",
            help="Then send it to a new private repository on the hub, with your own login.",
        ),
    ] = "",
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Hand a set of units on: as a model, a patch, a recipe, a report, a bundle.

    Nothing that exists is overwritten, and a kill leaves no half folder.
    """
    output = Output(json)
    if not to.strip():
        raise SettingError("give the new folder's name with --to")
    if not (run or moved.names):
        raise SettingError("say what to export: --layers, --units, or a stored --run")
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    bench.refuse_existing(to)
    if push:
        bench.refuse_push(push, settings.form)
    mask = moved.mask() if moved.names else None
    with progress() as report:
        if settings.measure or not (run and settings.form in OF_A_RUN):
            report("loading the pair", None)
            bench.load(_spec(bench, pair, moved, run), report)
        if settings.measure:
            bench.complete(mask, run, report)
        report(f"writing {to}", None)
        made = bench.export(settings, to, mask, run)
        if push:
            report(f"sending it to {push}", None)
        page = bench.push(made, push) if push else ""
    sent, said = ({"pushed": page}, [f"Pushed to {page}."]) if page else ({}, [])
    output.result({**made.as_dict(), **sent}, *told(made), *said)


def apply(
    patch: Annotated[str, typer.Argument(help="The folder that `export --as patch` wrote.")],
    student: Annotated[str, typer.Option(help="The student that the patch was made for.")] = "",
    to: To = "",
    json: o.Json = None,
) -> None:
    """Write a student's folder with a patch's tensors in it; refuses any other student."""
    output = Output(json)
    for value, name in ((student, "--student"), (to, "--to")):
        if not value.strip():
            raise SettingError(f"give {name} too")
    from dapa.workbench import Workbench

    Workbench.refuse_existing(to)
    with progress() as report:
        report("checking the student", None)
        made = Workbench.apply(patch, student, to)
    output.result(made.as_dict(), *told(made))


@options
def replay(
    pair: PairOptions,
    bundle: Annotated[str, typer.Argument(help="The folder that `export --as bundle` wrote.")],
    json: o.Json = None,
) -> None:
    """Do a bundle's run again; exit code 0 where all is the same, 1 where it is not.

    The pair is found by the bundle's names, or named with --pair, or --student and --teacher.
    """
    output = Output(json)
    from dapa.workbench import Workbench

    named = pair.pair or pair.student or pair.teacher
    with progress() as report:
        found = Workbench().replay(bundle, o.spec_for(pair) if named else None, report)
    counts = " and ".join(f"{n:,} {what}" for what, n in found.compared.items())
    head = f"Run {found.run} again: {'the same' if found.same else 'not the same'} ({counts})."
    output.result(found.as_dict(), head, *found.differences, *found.notes)
    if not found.same:
        raise typer.Exit(1)


def told(made: Made) -> list[str]:
    """What was written, for people."""
    tensors = f", {made.tensors} tensors changed" if made.tensors else ""
    files = count_text(len(made.files), "file")
    head = f"{made.folder}: {files}, {size_text(made.bytes)}{tensors}."
    return [head, *made.notes]


def _spec(bench: Workbench, pair: PairOptions, moved: o.MaskOptions, run: str) -> PairSpec:
    """The pair that is named, or the run's."""
    named = pair.pair or pair.student or pair.teacher
    return o.spec_for(pair, moved.sites, moved.units) if named or not run else (
        bench.spec_of_run(run)
    )  # fmt: skip
