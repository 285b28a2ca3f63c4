"""All measures side by side, a row per layer: which cheap one predicts the causal one?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Cell, Measurement, Shown, Table, measurements
from dapa.prompts.settings import BothSettings
from dapa.workbench.measurements.asking import harmful, origin

if TYPE_CHECKING:
    from dapa.localize.summary import Summary


def _measure(call: Call) -> Summary:
    asked: BothSettings = call.settings
    bench = call.bench
    found: Summary = bench.summary(
        harmful(call),
        call.kind,
        how=asked.format(),
        harmless=bench.named_set(asked, "harmless").texts if asked.harmless else (),
        seed=asked.seed,
        progress=call.progress,
        stop=call.stop,
    )
    return found


def _finding(found: Summary) -> str:
    from dapa.localize.summary import COLUMNS

    best = found.best_cheap
    if best is None:
        return "No cheap measure can be held against leaving layers out."
    name, agreement = best
    return (
        f"Of {agreement.of} measures that transplant nothing, {COLUMNS[name][0]} ranks the layers "
        f"most like leaving them out does: rank correlation {agreement.rho:.2f} "
        f"[{agreement.low:.2f}, {agreement.high:.2f}], permutation p {agreement.p:.2g}, both for "
        f"the best of {agreement.of}; {agreement.n} layers."
    )


def _describe(found: Summary) -> Shown:
    from dapa.localize.summary import COLUMNS

    shown = [name for name in COLUMNS if name in found.columns]

    digits = {name: _decimals([row[name] for row in found.rows]) for name in shown}

    def cell(value: Any, name: str) -> Cell:
        return f"{value:.{digits[name]}f}" if isinstance(value, float) else value

    rows = [(row["layer"], *(cell(row[name], name) for name in shown)) for row in found.rows]
    head = ("layer", *("\n".join(filter(None, COLUMNS[name])) for name in shown))
    return Shown(
        _finding(found),
        (Table(head, rows, sortable=True),),
        (f"Higher matters more in every column. n = {found.n} prompts.",),
        warnings=tuple(
            f"Left out, {COLUMNS[name][0]}: {why}." for name, why in found.missing.items()
        ),
    )


def _decimals(values: Sequence[Any]) -> int:
    """How many decimals a column has throughout: three digits of its largest number, at least 2."""
    largest = max((abs(value) for value in values if isinstance(value, float)), default=0.0)
    return max(2, 2 - math.floor(math.log10(largest))) if largest else 2


def _figures(found: Summary, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.summary import agreement_heatmap, summary_heatmap

    return [
        ("every measure by layer", summary_heatmap(found, dark)),
        ("do they rank alike?", agreement_heatmap(found, dark)),
    ]


measurements.add("summary", "summary")(
    Measurement(
        "Summary",
        "What each layer does, every way side by side",
        "Put every measure of every layer side by side: which cheap map predicts the causal one?"
        "\n\nA column that cannot be computed stays empty, with a word on stderr. Ctrl-C leaves "
        "out the columns that are not finished.",
        "Each row of the picture is a share of its own largest value; blue: the layer carries "
        "refusal. The second picture correlates the rows; dots: p above 0.05.",
        "pair",
        BothSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        by_layer=True,
        by_kind=True,
    )
)
