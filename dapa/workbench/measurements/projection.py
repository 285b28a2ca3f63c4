"""Harmful and harmless prompts in two dimensions, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, measurements
from dapa.prompts.settings import BothSettings
from dapa.workbench.measurements.asking import NOTHING, both, likely_mask, origin, project

if TYPE_CHECKING:
    from dapa.localize.projection import Projection


def _measure(call: Call) -> Projection:
    return project(call, *both(call))


def _describe(found: Projection) -> Shown:
    if not found.prompts:
        return NOTHING
    spread = found.explained.sum(axis=1)
    told = ""
    if len(spread):
        told = (
            f"Two components hold {100 * spread.min():.0f} % to {100 * spread.max():.0f} % of the "
            "variance of a layer’s states."
        )
    return Shown(
        told,
        (),
        (
            "Last-token states of each layer in their first two principal components, fitted once "
            f"per layer on student and teacher together. n = {len(found.prompts)} prompts. Near "
            "points are near in these two components only.",
        ),
    )


def _figures(found: Projection, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.directions import projection_slides

    return [("by layer", projection_slides(found, dark))] if found.prompts else []


measurements.add("projection", "projection")(
    Measurement(
        "Projection",
        "Harmful and harmless prompts in two dimensions",
        "Place harmful and harmless prompts in two dimensions, layer by layer.\n\n"
        "The patched model is --layers or --units; by default what the newest stored search of "
        "this pair found, else all that differ.",
        "Drag the slider from layer to layer. Filled: harmful, open: harmless.",
        "pair",
        BothSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        masked=True,
        usual=likely_mask,
    )
)
