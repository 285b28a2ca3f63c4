"""What one browser tab has chosen: the layers pressed, their strength, and how it got there.

A `Session` is frozen and replaced whole. Operations arrive from the browser as plain data and are
checked here, on the server, against the loaded pair. This module does not know HTML or Gradio.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dapa.core.masks import HEADS, parse_units
from dapa.core.records import EMPTY, ENDS, OUTSIDE, Mask, SettingError, Site, Unit
from dapa.workbench import GROUPS, sites_of

_KEPT = 100
"""How many steps can be undone."""
_LONGEST = 20_000
"""Characters of units that are read."""
_WHOLES = ("layer", "mlp", "attention", "norms")
"""The groups that pressed sites are gathered into, the largest first."""


class Shape(Protocol):
    """What must be known of a pair to steer it."""

    n_layers: int
    differs: Mapping[str, Iterable[int]]

    def validate(self, mask: Mask) -> None:
        """SettingError for units that the pair has not."""


Step = tuple[Mask, float]
"""The pressed units (at full strength) and the strength: what undo brings back."""


@dataclass(frozen=True)
class Session:
    """One tab's choices about one loaded pair."""

    epoch: int = -1
    """Which load of the server these choices belong to."""
    chosen: Mask = EMPTY
    """The pressed units, at full strength unless they were named at another."""
    strength: float = 1.0
    kind: str = "gate"
    """The kind of unit that the strip's first row presses."""
    opened: bool = False
    """Does the strip show a row per kind?"""
    found: Mask = EMPTY
    """The last search result applied or seen."""
    found_by: str = ""
    """The run that found it, if any."""
    past: tuple[Step, ...] = ()
    future: tuple[Step, ...] = ()

    @property
    def mask(self) -> Mask:
        """What the patched model transplants."""
        return Mask(tuple([(unit, at * self.strength) for unit, at in self.chosen.entries]))

    @property
    def chosen_by(self) -> str:
        """The run that chose what is pressed; empty where none is known to."""
        return self.found_by if self.chosen.entries and self.chosen == self.found else ""

    def holding(self, pair: Shape, found: Mask, kind: str, run: str = "") -> Session:
        """With a run's result pressed and remembered; the first row is of its kind, if any."""
        shown = kind if kind in able(pair) else self.kind
        return replace(self, found=found, found_by=run, kind=shown).press(found, 1.0)

    def press(self, chosen: Mask, strength: float | None = None) -> Session:
        """New choices, undoable; the same session where nothing changes."""
        step = (chosen, self.strength if strength is None else strength)
        here = (self.chosen, self.strength)
        if step == here:
            return self
        past = (*self.past, here)[-_KEPT:]
        return replace(self, chosen=step[0], strength=step[1], past=past, future=())

    def undo(self) -> Session:
        """One step back, if there is one."""
        if not self.past:
            return self
        chosen, strength = self.past[-1]
        future = (*self.future, (self.chosen, self.strength))
        return replace(self, chosen=chosen, strength=strength, past=self.past[:-1], future=future)

    def redo(self) -> Session:
        """One step forward again, if there is one."""
        if not self.future:
            return self
        chosen, strength = self.future[-1]
        past = (*self.past, (self.chosen, self.strength))
        return replace(self, chosen=chosen, strength=strength, past=past, future=self.future[:-1])


def fresh(epoch: int, pair: Shape) -> Session:
    """The first session of a newly loaded pair: nothing pressed, a kind that can be pressed."""
    return Session(epoch, kind=usual_kind(able(pair)))


def usual_kind(able: Sequence[str]) -> str:
    """What is moved unless something else is asked for: gates, else the first kind there is."""
    return "gate" if "gate" in able or not able else able[0]


def able(pair: Shape) -> list[str]:
    """The kinds that a layer's cell can press: those whose units are whole sites."""
    return [kind for kind, layers in pair.differs.items() if layers and kind not in (*ENDS, *HEADS)]


def entire(unit: Unit, strength: float = 1.0) -> bool:
    """Does a unit move all of its sites, so that cells can show it as pressed?"""
    return strength == 1.0 and not unit.cut and unit.kind not in HEADS


def parts_of(pair: Shape, kind: str) -> tuple[str, ...]:
    """The kinds of site that a unit of this kind moves in this pair."""
    return tuple(part for part in GROUPS[kind] if part in pair.differs)


def pressed(pair: Shape, chosen: Mask) -> frozenset[Site]:
    """The sites that the units move."""
    sites = (site for unit in chosen.units for site in sites_of(unit))
    return frozenset(site for site in sites if site.module in pair.differs)


def mask_of(pair: Shape, sites: Iterable[Site]) -> Mask:
    """Sites as units: a layer's gate, up and down together are its whole MLP, and so on."""
    by_layer: dict[int, set[str]] = {}
    for site in sites:
        by_layer.setdefault(site.layer, set()).add(site.module)
    units = []
    for layer, modules in by_layer.items():
        for group in _WHOLES:
            parts = parts_of(pair, group) if group in pair.differs else ()
            if len(parts) > 1 and modules.issuperset(parts):
                units.append(Unit(layer, group))
                modules = modules.difference(parts)
        units += [Unit(layer, module) for module in modules]
    return Mask.of(units)


def state(pair: Shape, chosen: Mask, layer: int, kind: str) -> str:
    """How much of a layer's unit is pressed: `none`, `part` or `all`."""
    units = [(unit, at) for unit, at in chosen.entries if unit.layer == layer]
    on = {site.module for unit, at in units if entire(unit, at) for site in sites_of(unit)}
    some = on | {site.module for unit, _ in units for site in sites_of(unit)}
    parts = parts_of(pair, kind)
    if on.issuperset(parts):
        return "all"
    return "part" if some.intersection(parts) else "none"


def apply(
    session: Session, pair: Shape, data: Mapping[str, Any], released: Iterable[int] = ()
) -> Session:
    """Carry out one operation of the strip or of a picture.

    Args:
        session: The choices so far.
        pair: The loaded pair.
        data: `op` and its values, as the browser (or anyone) sent them.
        released: The layers whose whole MLP the paper's released scripts swap.

    Raises:
        SettingError: An operation, layer, kind or strength that does not exist.
    """
    op = data.get("op")
    if op == "none":
        return session.press(EMPTY)
    if op == "all":
        return session.press(_with(pair, session, pair.differs[session.kind], session.kind, True))
    if op == "found":
        return session.press(session.found, 1.0) if session.found.entries else session
    if op == "released":
        clean = replace(session, chosen=EMPTY)
        return session.press(_with(pair, clean, released, "mlp", True))
    if op == "invert":
        layers = [int(x) for x in pair.differs[session.kind]]
        off = [x for x in layers if state(pair, session.chosen, x, session.kind) != "all"]
        on = [x for x in layers if x not in off]
        turned = replace(session, chosen=_with(pair, session, on, session.kind, False))
        return session.press(_with(pair, turned, off, session.kind, True))
    if op in ("undo", "redo"):
        return session.undo() if op == "undo" else session.redo()
    if op == "open":
        return replace(session, opened=not session.opened)
    if op == "kind":
        kind = _kind(pair, data.get("kind"))
        if kind in ENDS:
            raise SettingError(f"{kind} stands in no layer; press its own cell")
        return replace(session, kind=kind)
    if op == "units":
        named = parse_units(str(data.get("text") or "")[:_LONGEST])
        pair.validate(named)
        return session.press(named, 1.0)
    if op == "strength":
        return session.press(session.chosen, _strength(data.get("value")))
    if op == "toggle":
        kind = _kind(pair, data.get("kind") or session.kind)
        layers = _layers(pair, data.get("layers"), kind)
        on = data.get("on")
        if not isinstance(on, bool):
            on = any(
                state(pair, session.chosen, x, kind) != "all"
                for x in layers
                if x in pair.differs[kind]
            )
        return session.press(_with(pair, session, layers, kind, on))
    raise SettingError(f"{str(op)[:40]!r} is not something that the layer strip can do")


def _with(pair: Shape, session: Session, layers: Iterable[int], kind: str, on: bool) -> Mask:
    """The pressed units with these layers' units of one kind on or off; equal ones stay off."""
    touched = {layer for layer in layers if layer in pair.differs[kind]}
    moved = set(parts_of(pair, kind))
    rest, here = [], []
    for unit, at in session.chosen.entries:
        if unit.layer not in touched:
            rest.append((unit, at))
        elif entire(unit, at):
            here.append(unit)
        elif not moved & {site.module for site in sites_of(unit)}:
            rest.append((unit, at))  # a part of another kind stays as it is
    sites = set(pressed(pair, Mask.of(here)))
    for layer in touched:
        parts = {Site(layer, module) for module in parts_of(pair, kind)}
        sites = sites | parts if on else sites - parts
    return Mask((*rest, *mask_of(pair, sites).entries))


def _kind(pair: Shape, value: Any) -> str:
    if not isinstance(value, str) or value not in pair.differs or value in HEADS:
        kinds = [kind for kind in pair.differs if kind not in HEADS]
        raise SettingError(
            f"{str(value)[:40]!r} is not a kind of site; choose one of {', '.join(kinds)}"
        )
    return value


def _strength(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise SettingError(f"strength {str(value)[:40]} is outside 0 to 1")
    return number


def _layers(pair: Shape, value: Any, kind: str) -> list[int]:
    if not isinstance(value, list) or not 0 < len(value) <= pair.n_layers:
        raise SettingError("no layer was named; press one of the strip's cells")
    low, high = (OUTSIDE, OUTSIDE) if kind in ENDS else (0, pair.n_layers - 1)
    layers = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high:
            raise SettingError(
                f"{kind} stands in no layer; press its own cell"
                if kind in ENDS
                else f"layer {str(item)[:40]} does not exist; this pair has layers 0 to {high}"
            )
        layers.append(item)
    return layers
