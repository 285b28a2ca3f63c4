"""Which prompts are read together: a pass pads its rows to the longest, and padding is work too."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.model.pair import Pair

_LAYER = {"cpu": 2.5e8, "card": 1.5e11}
"""What a layer costs in a pass whatever stands in it, about a millisecond, over what a token costs
there for each parameter."""
_WEIGHTS = {"cpu": 10, "card": 75}
"""Tokens that cost as much as fetching every weight once."""


def pass_cost(pair: Pair) -> int:
    """Tokens that take about as long as a pass takes whatever stands in it.

    Few for a large model on a CPU (66 for one of 135 M parameters), hundreds on a graphics card.
    """
    kind = "cpu" if pair.device.type == "cpu" else "card"
    return _WEIGHTS[kind] + round(_LAYER[kind] * pair.n_layers / max(pair.parameters, 1))


def passes(lengths: Sequence[int], most: int, alone: int) -> list[int]:
    """How many rows each pass takes, in their order, so that all take the least time.

    Args:
        lengths: Tokens of each row, rising or falling.
        most: Rows of a pass at most.
        alone: As `pass_cost` tells.
    """
    best, came = [0], [0]  # least cost of the first rows; where their last pass begins
    for end in range(1, len(lengths) + 1):
        starts = range(max(0, end - most), end)
        costs = [best[s] + alone + (end - s) * max(lengths[s], lengths[end - 1]) for s in starts]
        least = min(costs)
        best.append(least)
        came.append(starts[costs.index(least)])
    sizes, end = list[int](), len(lengths)
    while end:
        sizes.append(end - came[end])
        end = came[end]
    return sizes[::-1]
