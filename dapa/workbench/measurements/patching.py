"""Patching: one model runs with the other's activations in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Interval, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import HarmfulSettings
from dapa.workbench.measurements import asking
from dapa.writing.unit_names import SITE_TITLES

if TYPE_CHECKING:
    from dapa.localize.causes.patching import PatchMap

_INTO = {"student": "teacher’s into the student", "teacher": "student’s into the teacher"}
_POSITIONS = {"all": "every token", "last": "last token"}
_MOST = 10


@dataclass(frozen=True, kw_only=True)
class PatchSettings(HarmfulSettings):
    """Whose activations go where."""

    sites: tuple[str, ...] = setting((), "sites", "Only these, as in mlp,attention.", form=False)
    position: str = setting(
        "all",
        "at",
        "all: every token; last: the last token alone.",
        choices=lambda: _POSITIONS,
        told=lambda position: _POSITIONS[position],
    )
    into: str = setting(
        "student",
        "activations",
        "student: it gets the teacher's activations; teacher: the reverse.",
        choices=lambda: _INTO,
        told=lambda into: _INTO[into],
    )


def _measure(call: Call) -> PatchMap:
    asked: PatchSettings = call.settings
    found: PatchMap = call.bench.patching(
        asking.texts(call),
        how=asked.format(),
        sites=list(asked.sites) or None,
        position=asked.position,
        into=asked.into,
        seed=asked.seed,
        progress=call.counted("prompts"),
        stop=call.stop,
    )
    return found


def _describe(found: PatchMap) -> Shown:
    if not found.n:
        return asking.NOTHING
    order = sorted(
        (
            (float(found.values[i, j]), i, j)
            for i in range(len(found.layers))
            for j in range(len(found.sites))
            if found.sites[j] != "residual" and found.values[i, j] == found.values[i, j]
        ),
        key=lambda cell: -abs(cell[0]),
    )
    rows = [
        (
            f"layer {found.layers[i]}",
            SITE_TITLES.get(found.sites[j], found.sites[j]),
            Interval(value, float(found.low[i, j]), float(found.high[i, j])),
            "yes" if found.significant[i, j] else "may be 0 by chance",
        )
        for value, i, j in order[:_MOST]
    ]
    grid = [
        (layer, *map(asking.signed, line, told))
        for layer, line, told in zip(found.layers, found.values, found.significant, strict=True)
    ]
    return Shown(
        f"The teacher’s refusal log-odds are {asking.effect_text(found.whole)} above the "
        f"student’s.{_most(rows)}",
        (
            Table(("layer", *found.sites), grid, about=asking.STARS, drawn=True),
            Table(("layer", "site", "moves", "significant"), rows),
        ),
        (
            "The largest outside the residual stream, which carries everything below it. "
            f"n = {found.n} prompts; 5 % false discoveries over all cells.",
        ),
    )


def _most(rows: Sequence[tuple[str, str, Interval, str]]) -> str:
    """The one place that moves most, as a sentence behind another; empty where none is."""
    if not rows or rows[0][3] != "yes":
        return ""
    where, site, moved, _ = rows[0]
    return f" Of single places the {site} of {where} moves most: {moved.text}."


def _figures(found: PatchMap, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.causes import patching_heatmap

    return [("by layer and site", patching_heatmap(found, dark))]


def _behind(found: PatchMap, layer: int, row: str) -> list[tuple[str, float]]:
    sites = {SITE_TITLES.get(site, site): site for site in found.sites}
    if row not in sites or layer not in found.layers:
        return []
    return found.behind(layer, sites[row])


measurements.add("patching", "patching")(
    Measurement(
        "Patching",
        "One model’s activations in the other",
        "Put the teacher's activations into the student, one layer and site at a time.\n\n"
        "Prompts that the two models read in different tokens are skipped and counted, unless only "
        "the last token is patched. Each prompt costs a pass of layers x sites rows. Ctrl-C stops "
        "with the prompts measured so far.",
        "Blue: the place carries refusal. Dots: it may be 0 by chance. A residual state carries "
        "everything below it.",
        "pair",
        PatchSettings,
        _measure,
        _describe,
        _figures,
        origin=asking.origin,
        by_layer=True,
        behind=_behind,
    )
)
