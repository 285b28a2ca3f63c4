"""What if just one layer were flipped? One prompt under the mask and each neighbour of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import FormatSettings

if TYPE_CHECKING:
    from dapa.localize.causes.flips import WhatIfs


@dataclass(frozen=True, kw_only=True)
class WhatIfSettings(FormatSettings):
    """What is asked."""

    prompt: str = setting("", "prompt", "The request.")


def _measure(call: Call) -> WhatIfs:
    asked: WhatIfSettings = call.settings
    call.progress("flipping layers", None)
    found: WhatIfs = call.bench.what_if(asked.prompt, call.mask, call.kind, asked.format())
    return found


def _describe(found: WhatIfs) -> Shown:
    rows = [
        (
            str(cell.unit),
            "put in" if cell.added else "taken out",
            f"{100 * cell.refusal:.1f} %",
            f"{cell.effect:+.2f}",
        )
        for cell in found.cells
    ]
    return Shown(
        f"Now the reply opens with a refusal with probability {100 * found.refusal:.1f} %.",
        (Table(("unit", "flipped", "refusal then", "change of log-odds"), rows),),
    )


def _figures(found: WhatIfs, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.whatif import what_if_strip

    return [("refusal if just this layer were flipped", what_if_strip(found, found.layers, dark))]


measurements.add("whatif", "what if")(
    Measurement(
        "What if?",
        "What if one layer were flipped",
        "Tell how likely a reply opens with a refusal if just one layer more, or less, were moved."
        "\n\n--layers or --units is what is transplanted now; --prompt is the request.",
        "Probability, after the flip, that the first word of the reply opens a refusal.",
        "prompt",
        WhatIfSettings,
        _measure,
        _describe,
        _figures,
        by_layer=True,
        masked=True,
        screen=False,
    )
)
