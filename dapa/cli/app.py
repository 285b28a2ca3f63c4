"""The commands, and the one place where an error becomes an exit code.

0: done. 2: the user's mistake, one line on stderr. 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from dapa import __version__
from dapa.cli import options as o
from dapa.cli.benchmark import bench
from dapa.cli.chatting import chat
from dapa.cli.evaluating import evaluate
from dapa.cli.exporting import apply, export, replay
from dapa.cli.fetching import get
from dapa.cli.judging import judge
from dapa.cli.measuring import measuring
from dapa.cli.output import Output, one_line, progress, table
from dapa.cli.prompting import prompts
from dapa.cli.reproducing import reproduce
from dapa.cli.runs import runs
from dapa.cli.searching import search
from dapa.cli.serving import app as serve
from dapa.cli.signature import options
from dapa.core.errors import SCARCE
from dapa.core.records import OUTSIDE, DapaError, PromptError, ran_out
from dapa.workbench import ChatSettings, PairOptions
from dapa.writing.sentences import moved_sentence


class _Commands(TyperGroup):
    """The commands, whose Ctrl-C is told: Typer ends with a bare 130, as after a stopped search."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Abort where it was interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    name="dapa",
    cls=_Commands,
    help="Find which layers carry a language model's refusals, and transplant just those.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"dapa {__version__}")
        raise typer.Exit


@app.callback()
def dapa(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Tell the version and end."
        ),
    ] = False,
) -> None:
    """Find which layers carry a language model's refusals, and transplant just those."""


@options
def check(pair: PairOptions, json: o.Json = None) -> None:
    """Tell whether two models make a pair, and in which layers their sites differ."""
    output = Output(json)
    spec = o.spec_for(pair)
    from dapa.workbench import Workbench

    with progress() as report:
        report("reading the checkpoints' headers", None)
        found = Workbench().check(spec)
        estimate = Workbench().memory(spec) if found.compatible else None
    findings = [(f.level, f.what, f.why) for f in found.findings]
    differs = [
        (kind, ", ".join("outside" if n == OUTSIDE else str(n) for n in layers) or "none")
        for kind, layers in found.differs.items()
    ]
    output.result(
        {**found.as_dict(), "memory": estimate and estimate.as_dict()},
        f"{spec.title}: {found.layers} layers, {found.bytes / 2**20:.0f} MiB on disk, "
        + ("a pair" if found.compatible else "not a pair"),
        table(("level", "what", "why"), findings),
        table(("sites", "differ in layers"), differs),
        *([estimate.sentence] if estimate else []),
    )
    found.raise_if_blocked()


@options
def generate(
    pair: PairOptions,
    moved: o.MaskOptions,
    settings: ChatSettings,
    prompt: Annotated[str, typer.Option(help="The request.")] = "",
    json: o.Json = None,
) -> None:
    """Ask student, patched and teacher the same, greedily by default, and judge their replies."""
    output = Output(json)
    mask = moved.mask()
    if not prompt.strip():
        raise PromptError("the prompt is empty; give some text with --prompt")
    spec = o.spec_for(pair, moved.sites, moved.units)
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report:
        bench.load(spec, report)
        report("decoding", None)
        exchange = bench.generate(
            prompt, mask, settings.format(), decoding=settings.decoding(), seed=settings.seed,
            judge=settings.judge(),
        )  # fmt: skip
    share = bench.share(mask)
    body: dict[str, Any] = {"moves": asdict(share)}
    shown = [moved_sentence(share) + "\n"]
    for pane in exchange.panes:
        assert pane.verdict is not None, f"the {pane.name}'s reply ended, so it was judged"
        evidence = pane.verdict.evidence(pane.text)
        body[pane.name] = {
            "text": pane.text,
            "verdict": str(pane.verdict.label),
            "evidence": evidence,
            "manner": pane.verdict.manner,
        }
        word = ", ".join(filter(None, (pane.verdict.label, pane.verdict.how)))
        shown.append(f"{pane.name}: {word} ({evidence})\n{pane.text}\n")
    output.result(body, *shown)


commands = (
    check, get, search, generate, chat, evaluate, judge, prompts, reproduce, export, apply, replay,
)  # fmt: skip
for command in commands:
    app.command()(command)
for name, command in measuring():
    app.command(name)(command)
for name, passed_on in (("app", serve), ("bench", bench)):  # whose options are their own
    app.command(
        name,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(passed_on)
app.add_typer(runs, name="runs")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit; every mistake of the user's is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        code = get_command(app).main(args=arguments, standalone_mode=False)
    except DapaError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if ran_out(error):
            _fail(SCARCE)
        raise
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> NoReturn:
    if message:  # none where the help was shown for want of a command
        print(one_line(message), file=sys.stderr)
    raise SystemExit(code)
