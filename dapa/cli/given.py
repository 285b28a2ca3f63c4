"""What may be measured instead of what a search finds: a set that the command line names."""

from __future__ import annotations

from dataclasses import dataclass

from dapa.cli import options as o
from dapa.core.masks import Mask
from dapa.core.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class GivenSet(Settings):
    """A set that is measured instead of what a search finds."""

    layers: str = setting("", "layers", "The set, such as 4-8; without it, what a search finds.")
    units: str = setting(
        "", "units", "Instead of --layers: units by name, as in 3.gate,5.attention@0.5."
    )

    run: str = setting(
        "", "the search that found it",
        "The search that found the set: its held-out prompts are asked.",
        metavar="ID", most=200,
    )  # fmt: skip

    def mask(self, kind: str) -> Mask:
        """The set; SettingError for what no pair could have, or for both ways."""
        return o.chosen_mask(self.layers, kind, self.units)
