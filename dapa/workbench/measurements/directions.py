"""Where student, patched and teacher stand along the refusal direction, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import BothSettings
from dapa.workbench.measurements.asking import NOTHING, both, likely_mask, origin, project

if TYPE_CHECKING:
    from dapa.localize.directions import DirectionMap
    from dapa.localize.projection import Projection


@dataclass(frozen=True, kw_only=True)
class DirectionSettings(BothSettings):
    """What is placed."""

    projection: bool = setting(
        False,
        "two dimensions too",
        "Add each prompt's place in two dimensions, layer by layer.",
        form=False,
    )


@dataclass(frozen=True, eq=False)
class PlacedPrompts:
    """The models along the direction and, where asked for, in two dimensions."""

    along: DirectionMap
    plane: Projection | None
    told: bool
    """Does the plane stand in JSON and CSV too, rather than only in a picture?"""

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return self.along.provenance

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file: the plane's where that is asked for."""
        if self.told and self.plane is not None:
            return self.plane.table()
        return self.along.table()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plane = self.plane.as_dict() if self.told and self.plane is not None else None
        return {**self.along.as_dict(), **({"projection": plane} if plane is not None else {})}


def _measure(call: Call) -> PlacedPrompts:
    asked: DirectionSettings = call.settings
    bad, good = both(call)
    along = call.bench.directions(
        bad,
        good,
        how=asked.format(),
        mask=call.mask,
        seed=asked.seed,
        progress=call.counted("prompts"),
        stop=call.stop,
    )
    wanted = (asked.projection or call.page) and not call.stop.is_set()
    return PlacedPrompts(along, project(call, bad, good) if wanted else None, asked.projection)


def _describe(placed: PlacedPrompts) -> Shown:
    found = placed.along
    if not all(found.n):
        return NOTHING
    last = len(found.layers) - 1

    def line(pane: str, i: int) -> tuple[Any, ...]:
        ends = [found.along[pane][kind].values[i] for kind in ("harmful", "harmless")]
        return (*(f"{end:.2f}" for end in ends), found.separation[pane][i])

    grid = [
        (layer, pane, *line(pane, i), f"{found.cosine[pane][i]:.2f}")
        for i, layer in enumerate(found.layers)
        for pane in found.panes
    ]
    rows = []
    for pane in found.panes:
        best = max(range(last + 1), key=lambda i: found.separation[pane][i].value)
        top = found.separation[pane][best]
        rows.append((pane, *line(pane, last), top, found.layers[best]))
    head = ("model", "harmful, last layer", "harmless, last layer", "AUC, last layer")
    return Shown(
        f"At the last layer harmful prompts stand at {_listed(found, 'harmful')}, harmless ones at "
        f"{_listed(found, 'harmless')}; 0 is the teacher on harmless prompts, 1 on harmful ones.",
        (
            Table(
                ("layer", "model", "harmful", "harmless", "AUC", "cosine with the teacher's"),
                grid,
                drawn=True,
            ),
            Table((*head, "best AUC", "at layer"), rows),
        ),
        (
            "The direction is the difference of means, fitted on one half of the prompts and shown "
            "on the other. AUC: how often a harmful prompt lies further along it than a harmless "
            "one. 95 % intervals.",
        ),
    )


def _listed(found: Any, kind: str) -> str:
    """Where each model stands at the last layer, as in `0.78 (student), 1.02 (teacher)`."""
    ends = {pane: float(found.along[pane][kind].values[-1]) for pane in found.panes}
    return ", ".join(f"{end:.2f} ({pane})" for pane, end in ends.items())


def _figures(placed: PlacedPrompts, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.directions import direction_chart, projection_slides, separation_chart

    made = [
        ("along the direction", direction_chart(placed.along, dark)),
        ("separation (AUC)", separation_chart(placed.along, dark)),
    ]
    if placed.plane is not None and placed.plane.prompts:
        made.append(("prompts in two dimensions, by layer", projection_slides(placed.plane, dark)))
    return made


measurements.add("directions", "refusal direction")(
    Measurement(
        "Refusal direction",
        "How far along the refusal direction each model stands, by layer",
        "Fit the refusal direction at every layer, and place student, patched and teacher along it."
        "\n\nIt is fitted on one half of the prompts and shown on the other. The patched model is "
        "--layers or --units; by default what the newest stored search of this pair found, else "
        "all that differ. With --html a picture of the prompts in two dimensions comes with it, "
        "and with --projection --csv writes that one.",
        "Student, patched model and teacher; harmful solid, harmless dotted. 0: the teacher on "
        "harmless prompts; 1: the teacher on harmful ones.",
        "pair",
        DirectionSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        masked=True,
        usual=likely_mask,
    )
)
