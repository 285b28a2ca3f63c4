"""`prompts`: what a prompt file holds, before a model is asked."""

from __future__ import annotations

from typing import Annotated

import typer

from dapa.cli import options as o
from dapa.cli.output import Output, table


def prompts(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A prompt file, a bundled set or a hub dataset.")
    ],
    role: Annotated[
        str, typer.Option(help="harmful, harmless, borderline or skill: what you hold it for.")
    ] = "harmful",
    against: Annotated[
        list[str] | None, typer.Option(help="Another file to look for its prompts in; repeat.")
    ] = None,
    prompt_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The file's column that holds the prompts, where its name does not tell.",
        ),
    ] = None,
    seed: o.Seed = 0,
    json: o.Json = None,
) -> None:
    """Tell a prompt file's format, columns, categories, duplicates, split and overlaps."""
    output = Output(json)
    from dapa.core.assets import folder
    from dapa.workbench import bundled, inspect, read_prompts, sentences

    known = bundled()
    others = [
        known[name] if name in known else read_prompts(name, role, prompt_column, else_usual=True)
        for name in against or ()
    ]
    file = str(folder() / "prompts" / f"{source}.csv") if source in known else source
    column = None if source in known else prompt_column
    found = inspect(file, known[source].role if source in known else role, others, seed, column)
    rows = list(found.categories.items())
    output.result(
        found.as_dict(),
        *sentences(found),
        f"Columns: {', '.join(name or '(unnamed)' for name in found.columns)}.",
        *([table(("category", "prompts"), rows)] if len(rows) > 10 else []),
    )
