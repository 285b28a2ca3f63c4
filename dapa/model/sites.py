"""Families: where an architecture keeps its layers and sites. A family is one row of data.

Paths are attribute paths below the causal language model (`layers`, `norm`, ...) or below one
decoder layer (`sites`, `attention`, `mlp`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from dapa.records import Mask, PairError, SettingError, Site, Unit

GROUPS: Mapping[str, tuple[str, ...]] = {
    "gate": ("gate",),
    "up": ("up",),
    "down": ("down",),
    "mlp": ("gate", "up", "down"),
}
"""Kind of unit -> the kinds of site it moves under one value. Whole MLP is a group, so that a
blend is a blend of weights, not of outputs."""

KIND_TITLES: Mapping[str, str] = {
    "gate": "gate",
    "up": "up",
    "down": "down",
    "mlp": "whole MLP",
}


@dataclass(frozen=True)
class Family:
    """One architecture's addresses."""

    model_type: str
    """`model_type` of its config.json."""
    title: str
    layers: str = "model.layers"
    sites: tuple[tuple[str, str], ...] = (
        ("gate", "mlp.gate_proj"),
        ("up", "mlp.up_proj"),
        ("down", "mlp.down_proj"),
    )
    attention: str = "self_attn"
    mlp: str = "mlp"
    norm: str = "model.norm"
    """The norm before the head, which the logit lens applies."""

    def site_path(self, kind: str) -> str:
        """Where a layer keeps its site of this kind."""
        return dict(self.sites)[kind]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of unit this family offers."""
        have = {kind for kind, _ in self.sites}
        return tuple(kind for kind, parts in GROUPS.items() if have.issuperset(parts))

    def weight_name(self, site: Site) -> str:
        """The checkpoint's name of the site's weight."""
        return f"{self.layers}.{site.layer}.{self.site_path(site.module)}.weight"


FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family("llama", "Llama"),
        Family("mistral", "Mistral"),
        Family("qwen2", "Qwen2"),
        Family("gemma", "Gemma"),
    )
}


def family_of(model_type: str) -> Family:
    """The row for a config's `model_type`; PairError names what is supported."""
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    known = ", ".join(FAMILIES)
    if model_type == "gpt2":
        raise PairError(
            "gpt2 has no MLP gate, so there is nothing of the paper's kind to transplant; "
            f"use a gated family: {known}"
        )
    raise PairError(
        f"model_type {model_type!r} is not a supported family; choose one of {known} (a new family "
        "is one row in dapa/model/sites.py)"
    )


def submodule(root: Any, path: str) -> Any:
    """Follow an attribute path; the empty path is the root itself."""
    return reduce(getattr, filter(None, path.split(".")), root)


def sites_of(unit: Unit) -> tuple[Site, ...]:
    """The sites that a unit moves."""
    if unit.kind not in GROUPS:
        raise SettingError(f"{unit.kind!r} is not a kind of site; choose {', '.join(GROUPS)}")
    return tuple(Site(unit.layer, module) for module in GROUPS[unit.kind])


Strength = float | tuple[tuple[int, int, float], ...]
"""One value for the whole site, or (start, stop, value) blocks of its neurons."""


def resolve(mask: Mask) -> dict[Site, Strength]:
    """What a mask asks of each site. SettingError if two units move the same neurons."""
    whole: dict[Site, float] = {}
    blocks: dict[Site, list[tuple[int, int, float]]] = {}
    for unit, strength in mask.entries:
        for site in sites_of(unit):
            if unit.block is None:
                if site in whole and whole[site] != strength:
                    raise SettingError(f"{site} is transplanted twice, at different strengths")
                whole[site] = strength
            else:
                blocks.setdefault(site, []).append((*unit.block, strength))
    for site, parts in blocks.items():
        parts.sort()
        ends = [stop for _, stop, _ in parts]
        starts = [start for start, _, _ in parts[1:]]
        if site in whole or any(a > b for a, b in zip(ends, starts, strict=False)):
            raise SettingError(f"two units of the mask move the same neurons of {site}")
    return {**whole, **{site: tuple(parts) for site, parts in blocks.items()}}


def units_for(kind: str, layers: Iterable[int]) -> tuple[Unit, ...]:
    """One whole unit of `kind` per layer."""
    if kind not in GROUPS:
        raise SettingError(f"{kind!r} is not a kind of site; choose one of {', '.join(GROUPS)}")
    return tuple(Unit(layer, kind) for layer in layers)
