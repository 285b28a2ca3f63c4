"""Judges by name with options as text, the same for command line and screen.

A factory is given those options that it takes, so that a new judge is a new file and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dapa.core.records import SettingError
from dapa.core.registry import Registry
from dapa.judges.base import Judge, judges
from dapa.judges.endpoint_client import Caller, Endpoint, Spend
from dapa.judges.harm import HarmJudge, harms


@dataclass(frozen=True, eq=False)
class Panel:
    """Who judges: one judge or several, and perhaps a harm judge beside them."""

    judges: tuple[Judge, ...]
    harm: HarmJudge | None = None
    callers: tuple[Caller, ...] = ()

    @property
    def spend(self) -> Spend | None:
        """What calls to endpoints have cost so far; None where none is asked."""
        told = [caller.spend for caller in self.callers]
        if not told:
            return None
        return Spend(*(sum(getattr(s, f.name) for s in told) for f in fields(Spend)))


def _labels(text: str) -> dict[str, str]:
    """`A=refusal,B=compliance` as a mapping."""
    found = {}
    for part in filter(str.strip, text.split(",")):
        name, mark, label = part.rpartition("=")
        if not mark or not name.strip():
            raise ValueError("write CLASS=verdict,CLASS=verdict")
        found[name.strip()] = label.strip().lower()
    return found


def _prices(text: str) -> tuple[float, float]:
    into, _, out = text.partition(",")
    return float(into), float(out or into)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole_text(text: str) -> str:
    """The text itself, or the file that `@name` names."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{text[1:]} cannot be read ({error})") from None


_OWN: Mapping[str, Callable[[str], Any]] = {
    "checkpoint": str,
    "labels": _labels,
    "layout": _whole_text,
    "device": str,
    "least": float,
    "also": _list,
    "never": _list,
    "rubric": _whole_text,
    "harmful": _list,
    "threshold": float,
    "template": _whole_text,
}
_ENDPOINT: Mapping[str, Callable[[str], Any]] = {
    "url": str,
    "model": str,
    "key": str,
    "timeout": float,
    "retries": int,
    "per_minute": float,
    "workers": int,
    "max_tokens": int,
    "price": _prices,
}


def read_options(given: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as options; those of an endpoint come together under `to`.

    Raises:
        SettingError: A key that is none, or a value that does not fit.
    """
    own: dict[str, Any] = {}
    address: dict[str, Any] = {}
    for item in given:
        key, mark, value = item.partition("=")
        key = key.strip().replace("-", "_")
        table = _OWN if key in _OWN else _ENDPOINT
        if not mark or key not in table:
            raise SettingError(
                f"{item[:60]!r} is no judge's option; write KEY=VALUE, KEY one of "
                f"{', '.join([*_OWN, *_ENDPOINT])}"
            )
        try:
            (own if table is _OWN else address)[key] = table[key](value.strip())
        except ValueError as error:
            raise SettingError(f"{key}={value[:60]!r} does not fit: {error}") from None
    if address:
        missing = [key for key in ("url", "model") if key not in address]
        if missing:
            raise SettingError(f"an endpoint needs its {missing[0]}; add {missing[0]}=...")
        own["to"] = Endpoint(**address)
    return own


def panel(
    names: Sequence[str],
    options: Mapping[str, Any] | None = None,
    harm: str | None = None,
    harm_options: Mapping[str, Any] | None = None,
) -> Panel:
    """Make the judges called `names`, in order.

    Args:
        names: Of the registry `judges`.
        options: As `read_options` gives them; every judge takes what it knows.
        harm: A name of the registry `harms`, or None.
        harm_options: The harm judge's own; an endpoint is shared if it has none.

    Raises:
        SettingError: An unknown name, or an option that is missing or taken by nobody.
    """
    if not names:
        raise SettingError("no judge is named; give rules or another")
    own = dict(options or {})
    callers: dict[Endpoint, Caller] = {}
    made = tuple(_make(judges, name, own, callers) for name in names)
    _all_taken(own, [judges[name] for name in names])
    axis = None
    if harm is not None:
        theirs = {**({"to": own["to"]} if "to" in own else {}), **(harm_options or {})}
        axis = _make(harms, harm, theirs, callers)
        _all_taken(harm_options or {}, [harms[harm]])
    elif harm_options:
        raise SettingError("options for a harm judge are given, but none is named; give --harm")
    return Panel(made, axis, tuple(callers.values()))


def _make(
    registry: Registry[Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    callers: dict[Endpoint, Caller],
) -> Any:
    factory = registry[name]
    taken = {key: value for key, value in options.items() if key in _takes(factory)}
    if "to" in taken:
        to = taken.pop("to")
        taken["caller"] = callers.get(to) or callers.setdefault(to, Caller(to))
    return factory(**taken)


def _takes(factory: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(factory).parameters)


def _all_taken(options: Mapping[str, Any], factories: Sequence[Callable[..., Any]]) -> None:
    known = set().union(*(_takes(factory) for factory in factories))
    left = [key for key in options if key not in known]
    if left:
        what = "endpoint" if left[0] == "to" else left[0]
        raise SettingError(f"no chosen judge takes the option {what}; choose one that does")
