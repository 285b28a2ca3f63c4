"""What every model looks like wherever models are points: colour, and shape beside it."""

from __future__ import annotations

from collections.abc import Iterable

from dapa.figures.theme import Palette

_FURTHER = ("triangle-up", "triangle-down", "cross", "x", "star", "pentagon")
"""Shapes of further models, in their order; a seventh begins anew."""


def looks(colours: Palette, models: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Model -> (colour, symbol).

    The student is a grey circle, the patched model a blue diamond, the teacher a hollow blue
    square; further models are grey, each of a shape of its own.
    """
    known = {
        "student": (colours.grey, "circle"),
        "patched": (colours.blue, "diamond"),
        "teacher": (colours.blue, "square-open"),
    }
    further = [model for model in models if model not in known]
    return known | {
        model: (colours.grey, _FURTHER[i % len(_FURTHER)]) for i, model in enumerate(further)
    }
