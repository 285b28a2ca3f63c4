"""What `python -m dapa.bench` and `python -m dapa bench` do."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dapa.bench.suite import BenchReport

ABOUT = "Measure every goal of the house in one run, as a table and as JSON."
OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--quick",), {"action": "store_true", "help": "a model of 4 M parameters, about a minute"}),
    (
        ("--json",),
        {
            "metavar": "FILE|-",
            "help": "write the result as JSON; - is the standard output, which then holds "
            "nothing else",
        },
    ),
    (("--app",), {"action": "store_true", "help": "drive the dashboard in Chromium as well"}),
    (
        ("--gpu",),
        {
            "action": "store_true",
            "help": "instead, run 7B and 8B pairs with random weights in bf16 on the GPU",
        },
    ),
    (
        ("--real",),
        {
            "metavar": "CLAIM",
            "nargs": "?",
            "const": "confidence",
            "help": "instead, measure the real pairs that were fetched, by a search of this claim "
            "(confidence unless said otherwise, quick or exact); --only takes digits of its rows",
        },
    ),
    (
        ("--growth",),
        {
            "action": "store_true",
            "help": "instead, tell how a search's cost grows with prompts, layers and width; "
            "--only takes their first letters",
        },
    ),
    (
        ("--ablation",),
        {
            "action": "store_true",
            "help": "also measure each optimization of a search, alone and among the others",
        },
    ),
    (
        ("--confidence",),
        {
            "metavar": "N",
            "help": "instead, run N confidence searches of each kind of truth on tables of "
            "verdicts, and tell how many hold",
        },
    ),
    (("--only",), {"metavar": "LETTERS", "help": "only these groups of rows, as in bf"}),
)

CLAIMS = ("confidence", "quick", "exact")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser("python -m dapa.bench", description=ABOUT)
    for names, settings in OPTIONS:
        made.add_argument(*names, **settings)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 0 unless it could not run."""
    given = parser().parse_args(arguments)
    if given.confidence is not None:
        return _confidence(given.confidence)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from dapa.bench.gpu_rows import LLAMA_2_7B, LLAMA_3_8B
    from dapa.bench.row import BenchRow, number
    from dapa.bench.scene import FULL, QUICK
    from dapa.bench.suite import GROUPS, run

    known = [*"plw"] if given.growth else [*"123456"] if given.real else list(GROUPS)
    unknown = sorted(set(given.only or "") - set(known))
    if unknown:
        print(f"no rows {', '.join(unknown)}; choose of {', '.join(known)}", file=sys.stderr)
        return 2
    if given.growth:
        return _growth(given.json, given.only)
    if given.real not in (None, *CLAIMS):
        print(f"{given.real!r} is no claim; choose of {', '.join(CLAIMS)}", file=sys.stderr)
        return 2

    def tell(row: BenchRow) -> None:
        print(f"{row.id} {number(row.ratio)} ...", file=sys.stderr, flush=True)

    sizes = (LLAMA_2_7B, LLAMA_3_8B) if given.gpu else None
    report = run(
        QUICK if given.quick else FULL,
        given.only,
        tell,
        app=given.app,
        gpu=sizes,
        optimizations=given.ablation,
        real=given.real,
    )
    if not _written(report, given.json):
        _told(report)
    return 0


def _written(report: BenchReport, where: str | None) -> bool:
    """Write the JSON form where it is asked for; was it the standard output?"""
    body = json.dumps(report.as_dict(), indent=1)
    if where == "-":
        print(body)
        return True
    if where:
        Path(where).write_text(body + "\n", encoding="utf-8")
    return False


def _told(report: BenchReport) -> None:
    """Machine, table and goals."""
    from dapa.bench.row import table

    for name, value in report.machine.items():
        print(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}")
    print()
    print(table(report.rows))
    met = sum(row.passed is True for row in report.rows)
    missed = ", ".join(row.id for row in report.rows if row.passed is False) or "none"
    null = ", ".join(row.id for row in report.rows if row.passed is None) or "none"
    print(f"\n{met} goals met; missed: {missed}; not measured: {null}")


def _growth(where: str | None, only: str | None) -> int:
    """The table of growth, then its rows; `only` names axes by their first letters."""
    from dapa.bench import growth
    from dapa.bench.machine import describe
    from dapa.bench.suite import BenchReport

    points = growth.measured(
        {axis: at for axis, at in growth.AXES.items() if only is None or axis[0] in only},
        tell=lambda one: print(
            f"{one.axis} {one.at}: {one.seconds:.1f} s ...", file=sys.stderr, flush=True
        ),
    )
    report = BenchReport(describe(), list(growth.rows(points)))
    if not _written(report, where):
        print("\n".join((*growth.lines(points), "")))
        _told(report)
    return 0


def _confidence(many: str) -> int:
    """Statistics of the confidence search; 0 where every goal is met."""
    from dapa.bench.confidence_rows import KINDS, lines, power_lines, score

    if not many.isdecimal() or int(many) < 2:
        print(f"{many!r} is no number of searches; give 2 or more", file=sys.stderr)
        return 2
    scores = []
    for kind in KINDS:
        print(f"{kind} ...", file=sys.stderr, flush=True)
        scores.append(score(kind, int(many)))
    print(f"{many} searches of each truth, 60 prompts choose and 250 certify, margin 5 points\n")
    print("\n".join((*lines(scores), "", *power_lines())))
    missed = [f"{one.kind}: {goal}" for one in scores for goal in one.missed]
    print(f"\ngoals missed: {'; '.join(missed) or 'none'}")
    return 1 if missed else 0
