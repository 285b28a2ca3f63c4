"""`judge --benchmark`: every judge against people's labels, by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dapa.cli.output import Output, progress, table
from dapa.core.records import SettingError
from dapa.core.settings import Settings, setting

if TYPE_CHECKING:
    from dapa.core.records import Verdict
    from dapa.workbench import Benchmark, Labelled

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(Settings):
    """Judges against people."""

    benchmark: str | None = setting(
        None, "benchmark", "Or: replies that people labelled; score judges against people."
    )
    halves: bool = setting(
        False, "halves", "With --benchmark: the half by prompt digest that is not tuned on."
    )
    apart: tuple[str, ...] = setting(
        (), "apart", "With --halves: a model never tuned on, reported whole; repeat.", lines=2
    )
    markdown: str | None = setting(
        None, "markdown", "With --benchmark: write the tables to this file too."
    )


def compare(
    output: Output,
    asked: BenchmarkSettings,
    names: Sequence[str],
    options: Sequence[str],
    people: str | None,
    run_dir: Path | None,
) -> None:
    """Score the judges called `names`, and those whose words stand in the file."""
    from dapa.workbench import Workbench, benchmark, read_labelled

    source, apart, halves = Path(asked.benchmark or ""), asked.apart, asked.halves or asked.apart
    markdown = None if asked.markdown is None else Path(asked.markdown)

    if markdown is not None and not markdown.absolute().parent.is_dir():
        raise SettingError(f"cannot write {markdown}: give a file in a folder that exists")
    written = read_labelled(source, people)
    strange = set(apart) - {one.model for one in written}
    if strange:
        raise SettingError(f"no reply of {sorted(strange)[0]!r} is in {source.name}; check --apart")
    bench = Workbench(run_dir) if run_dir else Workbench()
    pairs = [(one.prompt, one.reply) for one in written]
    said: dict[str, list[Verdict]] = {}
    with progress() as report:
        panel = bench.panel(names, options)
        for number, judge in enumerate(panel.judges):
            report(f"asking {judge.name}", number / len(panel.judges))
            said[judge.name] = (bench.remembering(judge) if run_dir else judge).all(pairs)
    found: dict[str, Benchmark] = {}
    for title, places in _groups(written, bool(halves), apart).items():
        some = {judge: [words[i] for i in places] for judge, words in said.items()}
        found[title] = benchmark([written[i] for i in places], some)
    body = {title: one.as_dict() for title, one in found.items()}
    shown: list[RenderableType] = []
    for title, one in found.items():
        shown += _shown(title, one)
    if markdown is not None:
        text = "\n\n".join(_section(title, one) for title, one in found.items()) + "\n"
        try:
            markdown.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingError(f"cannot write {markdown}: {error.strerror}") from error
    spend = {"spend": panel.spend.as_dict()} if panel.spend is not None else {}
    output.result({"file": source.name, "benchmarks": body, **spend}, *shown)


def _groups(
    written: Sequence[Labelled], halves: bool, apart: Sequence[str]
) -> dict[str, list[int]]:
    """Title -> places of its replies."""
    from dapa.workbench import half

    if not halves:
        return {"all replies": list(range(len(written)))}
    found: dict[str, list[int]] = {"untouched half": []}
    found |= {name: [] for name in apart}
    found["tuning half"] = []
    for place, one in enumerate(written):
        title = one.model if one.model in apart else f"{half(one.prompt)} half"
        found[title].append(place)
    return {title: places for title, places in found.items() if places}


def _shown(title: str, one: Benchmark) -> list[RenderableType]:
    rows = [(s.part, s.judge, s.agreement, s.recall, s.precision) for s in one.scores]
    head = ("replies", "judge", "agrees with people", "recall of refusals", "precision")
    parts: list[RenderableType] = [table(head, rows, title=f"{title}: {one.n} replies")]
    if one.partial:
        told = "; ".join(
            f"{judge}: " + ", ".join(f"{what} {n}" for what, n in sorted(row.items()))
            for judge, row in one.partial_manners.items()
        )
        parts.append(f"{one.partial} replies that people call partial are left out. {told}")
    for judge in one.judges:
        wrong = [c for c in one.confusions if c.judge == judge]
        lines = [(c.row + 1, c.model, c.people, c.said, c.reason) for c in wrong[:_SHOWN]]
        if lines:
            head = ("reply", "model", "people", "judge", "why")
            parts.append(table(head, lines, title=f"{judge}: {len(wrong)} confusions"))
    return parts


def _section(title: str, one: Benchmark) -> str:
    """A heading, the table, and what was left out and confused, for a Markdown file."""
    lines = [f"## {title[:1].upper()}{title[1:]}", "", one.as_markdown()]
    if one.partial:
        lines += ["", f"{one.partial} replies that people call partial are in no rate."]
        for judge, row in one.partial_manners.items():
            told = ", ".join(f"{what} {n}" for what, n in sorted(row.items()))
            lines.append(f"{judge} says of them: {told}.")
    lines += ["", "Confusions of all (people's word, the judge's):", ""]
    for judge in one.judges:
        wrong = {f"{a} as {b}": n for (a, b), n in one.score(judge).table.items() if a != b}
        told = ", ".join(f"{what} {n}" for what, n in wrong.items()) or "none"
        lines.append(f"- {judge}: {told}")
    return "\n".join(lines)
