"""`evaluate`: the one table of student, patched, teacher and saved masks, and its replies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.judging import HarmName, HarmOptions, JudgeOptions
from dapa.cli.output import Output, progress, table
from dapa.core.records import Mask, SettingError
from dapa.writing.sentences import percent

if TYPE_CHECKING:
    from dapa.measure.evaluation import Evaluation

Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="NAME=UNITS",
        help="A further column: layers of --sites (best=3,5) or units (mix=3.gate,5.mlp@0.5).",
    ),
]
_TITLES = {
    "dsr": "DSR, held out",
    "dsr_search": "DSR, search set",
    "over_refusal": "over-refusal",
    "borderline": "over-refusal, borderline",
    "incoherent": "incoherent",
    "unclear": "unclear",
    "skill": "skill, exact match",
    "harm": "harmful (second axis)",
}


def evaluate(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    layers: o.Layers = "",
    sites: o.Sites = "gate",
    units: o.Units = "",
    mask: Masks = None,
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    borderline: Annotated[str | None, typer.Option(help="Borderline harmless prompts.")] = None,
    skill: Annotated[
        str | None, typer.Option(help="Prompts with exact answers, in a column answer.")
    ] = None,
    prompt_limit: o.PromptLimit = None,
    max_new_tokens: o.MaxNewTokens = 64,
    wraps: Annotated[
        str, typer.Option(help="Robustness wraps: all, none, or prefill,role-play,suppression.")
    ] = "all",
    text: Annotated[
        str | None,
        typer.Option(
            help="Text for perplexity, such as WikiText-2's test file (txt, parquet); none skips."
        ),
    ] = None,
    kl: Annotated[bool, typer.Option(help="KL to the student on harmless prompts.")] = True,
    judge: Annotated[str, typer.Option(help="Who judges; see `dapa judge`.")] = "rules",
    option: JudgeOptions = None,
    harm: HarmName = None,
    harm_option: HarmOptions = None,
    fluency: Annotated[
        bool,
        typer.Option(help="Incoherent too: what surprises the student more than its own replies."),
    ] = False,
    tasks: Annotated[
        str | None, typer.Option(help="lm-eval tasks, as in arc_easy,hellaswag; needs lm_eval.")
    ] = None,
    task_path: Annotated[str | None, typer.Option(help="Folder of further task files.")] = None,
    task_limit: Annotated[int | None, typer.Option(help="Items of a task at most.")] = None,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Put prompt sets through student, patched, teacher and saved masks, into one table.

    Ctrl-C stops it; the same command again, or `dapa runs resume ID`, goes on where it was.
    """
    output = Output(json)
    chosen = o.chosen_mask(layers, sites, units)
    saved = saved_masks(mask or (), sites)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites, units)
    from dapa.measure.run_evaluation import EvaluationSettings
    from dapa.workbench import Workbench

    settings = EvaluationSettings(
        mask=chosen.key,
        saved={name: one.key for name, one in saved.items()},
        prompts=o.lasting(prompts),
        harmless=o.lasting(harmless),
        borderline=o.lasting(borderline),
        skill=o.lasting(skill),
        prompt_limit=prompt_limit,
        seed=seed,
        wraps=_wraps(wraps),
        text=o.lasting(text),
        kl=kl,
        judge=judge,
        judge_options=tuple(option or ()),
        harm=harm,
        harm_options=tuple(harm_option or ()),
        fluency=fluency,
        max_new_tokens=max_new_tokens,
        tasks=tuple(filter(None, (tasks or "").split(","))),
        task_path=o.lasting(task_path),
        task_limit=task_limit,
    )
    bench = Workbench(run_dir)
    with progress() as report, stopping() as stop:
        bench.load(spec, report)
        found = bench.evaluation(settings, report, stop)
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


def _wraps(text: str) -> tuple[str, ...]:
    from dapa.measure.wraps import wraps

    if text == "all":
        return tuple(wraps)
    names = () if text == "none" else tuple(part.strip() for part in text.split(",") if part)
    for name in names:
        wraps[name]
    return names


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
            rows.append([title, *map(_rate, rates), _n(rates)])
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
    shown: list[RenderableType] = [table(("measure", *models, "n"), rows)]
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
        shown.append("Stopped early: the rates are over what was judged.")
    shown.append(
        f"Judged by {found.judge}. Every reply: python -m dapa runs replies {found.run} "
        "--model patched --measure dsr"
    )
    return shown


def _rate(rate: Any) -> str | None:
    if rate is None:
        return None
    return f"{percent(rate.value)} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def _n(rates: Sequence[Any]) -> str:
    """How many, once where all columns have as many."""
    return " / ".join(str(n) for n in dict.fromkeys(rate.n for rate in rates if rate is not None))


def _number(value: Any) -> str | None:
    if value is None:
        return None
    if value.low is None:
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"


def _points(gain: Any) -> str:
    return f"{100 * gain.value:+.0f} [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]"


def _metrics(found: Mapping[str, Any] | None) -> str | None:
    """One lm-eval task's metrics."""
    if found is None:
        return None
    return ", ".join(f"{name} {told['value']:.3g}" for name, told in found.items())
