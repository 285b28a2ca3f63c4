"""`reproduce`: every preset through search and table, beside the published figures."""

from __future__ import annotations

import json as js
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.evaluating import stopping
from dapa.cli.output import Output, progress, table
from dapa.cli.signature import options
from dapa.core.records import Rate, SettingError
from dapa.workbench import SearchSettings
from dapa.writing.numbers import percent

if TYPE_CHECKING:
    from dapa.workbench import PairLine, Preset, Reproduced

GROUPS = ("published", "laptop", "real", "bundled")


@options
def reproduce(
    settings: SearchSettings,
    presets: Annotated[
        str,
        typer.Option(
            help="published (the default), laptop, real, bundled, or a JSON file: a list of names "
            'or of {"name", "student", "teacher"}.'
        ),
    ] = "published",
    text: Annotated[
        str | None, typer.Option(help="Text for perplexity, such as WikiText-2's; none skips.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N, cuda:all, mps or xpu.")
    ] = "auto",
    again: Annotated[bool, typer.Option(help="Measure anew what is written down.")] = False,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Search and measure every preset, and print the table beside the published figures.

    Whatever is measured is kept: the same command again goes on where it was. Pairs that are gated
    or missing are listed. Ctrl-C stops it.
    """
    output = Output(json)
    from dapa.workbench import Workbench

    chosen = _presets(presets)
    with progress() as report, stopping() as stop:
        found = Workbench(run_dir).reproduce(
            chosen,
            settings,
            text=o.lasting(text),
            dtype=dtype,
            device=device,
            again=again,
            progress=report,
            stop=stop,
        )
    output.result(found.as_dict(), *told(found))
    if stop.is_set():
        raise typer.Exit(130)


def _presets(name: str) -> list[Preset]:
    """A group's presets, or those of a file."""
    from dapa.workbench import presets, read_presets

    known = presets()
    if name in GROUPS:
        return [preset for preset in known.values() if preset.group == name]
    try:
        body = js.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"presets {name!r} cannot be read ({error}); name {', '.join(GROUPS)} or a JSON file"
        ) from None
    except ValueError as error:
        raise SettingError(f"{name} is not JSON ({error}); mend it") from None
    return read_presets(body, known)


def told(found: Reproduced) -> list[RenderableType]:
    """The table, the means beside the published ones, and what could not be had."""
    from dapa.workbench import PUBLISHED

    headers = (
        "pair", "student", "patched", "teacher", "gain, points", "perplexity", "share", "layers",
        "tests", "GPU s",
    )  # fmt: skip
    shown: list[RenderableType] = [table(headers, [_row(line) for line in found.measured])]
    mean, best, share = found.mean_gain, found.best, found.mean_share
    beside = [
        ("mean gain, points", _points(mean), f"+{PUBLISHED['average_gain']}"),
        ("best gain, points", _points(best.gain if best else None), f"+{PUBLISHED['best_gain']}"),
        ("mean share of parameters", share and percent(share.value, 2), f"{PUBLISHED['share']} %"),
    ]
    count = f"here, {len(found.measured)} of {len(found.lines)} pairs"
    shown.append(table(("figure", count, "published, 17 students"), beside))
    for line in found.lines:
        if line.state != "done":
            shown.append(f"{line.name}: {line.state}. {line.note}")
    if not found.complete:
        shown.append("Stopped early; the same command again goes on.")
    return shown


def _row(line: PairLine) -> tuple[Any, ...]:
    rates = [line.dsr.get(model) for model in ("student", "patched", "teacher")]
    before, after = (line.perplexity.get(model) for model in ("student", "patched"))
    words = None if before is None or after is None else f"{before:.4g} to {after:.4g}"
    layers = ", ".join(map(str, line.layers)) or "none"
    share = None if line.share is None else percent(line.share, 2)
    cells = [rate and percent(rate.value) for rate in rates]
    return (line.name, *cells, _points(line.gain), words, share, layers, line.tests,
            f"{line.gpu_seconds:.0f}")  # fmt: skip


def _points(rate: Rate | None) -> str | None:
    if rate is None:
        return None
    ends = f" [{100 * rate.low:+.1f}, {100 * rate.high:+.1f}]" if rate.n > 1 else ""
    return f"{100 * rate.value:+.1f}{ends}"
