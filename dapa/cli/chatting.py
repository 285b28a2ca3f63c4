"""`chat`: the three panes in a terminal, line by line, or fed from a pipe.

A line is a prompt, or a command that begins with a slash. In a terminal a mistake costs one line
and the talk goes on; from a pipe it ends the program, as everywhere on the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from dapa.cli import options as o
from dapa.cli.judging import JudgeOptions
from dapa.cli.output import Output, console, one_line, progress
from dapa.cli.signature import options
from dapa.cli.talking import Quit, TerminalChat, panes_of
from dapa.core.records import DapaError
from dapa.workbench import ChatSettings, PairOptions


@options
def chat(
    pair: PairOptions,
    moved: o.MaskOptions,
    settings: ChatSettings,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Ask this and end; repeat for more turns.")
    ] = None,
    panes: Annotated[
        str, typer.Option(help="Who answers: all, or some of student,patched,teacher.")
    ] = "all",
    judge: Annotated[str, typer.Option(help="Who judges; see `dapa judge`.")] = "rules",
    option: JudgeOptions = None,
    json: o.Json = None,
) -> None:
    """Talk with student, patched and teacher: in a terminal, with --prompt, or through a pipe.

    /help lists what can be changed while talking; Ctrl-C stops a reply, Ctrl-D ends.
    """
    output = Output(json)
    mask, asked = moved.mask(), panes_of(panes)
    spec = o.spec_for(pair, moved.sites, moved.units)
    from dapa.workbench import Workbench

    bench = Workbench()
    chosen = bench.panel([judge], option or ()).judges[0]
    with progress() as report:
        bench.load(spec, report)
    bench.pair.validate(mask)
    if not bench.pair.whole and panes.strip() in ("", "all"):
        from dapa.workbench import panes_of as here

        asked = here(bench.pair)
    talking = prompt is None and sys.stdin.isatty()
    live = talking and sys.stdout.isatty() and json is None
    quiet = json == "-"  # then nothing else may stand there
    terminal = TerminalChat(bench, chosen, mask, moved.sites, settings, asked, live, quiet)
    if talking:
        console().print(Text(f"{spec.title}. Write a prompt, or /help."))
    for line in prompt if prompt is not None else _lines(talking):
        try:
            if line.startswith("/") and prompt is None:
                terminal.command(line)
            elif line.strip() or prompt is not None:
                terminal.ask(line)
        except Quit:
            break
        except DapaError as error:
            if not talking:
                raise
            console().print(Text(one_line(str(error))))
    output.result(terminal.session().as_dict())


def _lines(talking: bool) -> Iterator[str]:
    """What is typed, or what comes through the pipe."""
    if not talking:
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    import readline  # noqa: F401  (line editing and history for input)

    while True:
        try:
            yield input("> ")
        except EOFError:
            console().print()
            return
        except KeyboardInterrupt:
            console().print(Text("Ctrl-D or /quit ends."))
