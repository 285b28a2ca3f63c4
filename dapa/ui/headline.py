"""The headline card: what a set of layers does, in figures that are read across a room.

Large figures on the left, a picture on the right: safety against skill where skill was measured,
else safety against how much is moved. The same card stands over a search's result, a stored run
and an evaluation; what may be done with the set stands in the row of buttons under it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dapa.core.html import Html, html, joined
from dapa.core.records import Rate
from dapa.ui.parts import percent
from dapa.writing.unit_names import kind_text

Who = Literal["student", "found", "teacher", "smaller", "every"]
_NAMES = {"student": "student", "found": "with the set", "teacher": "teacher", "every": "every"}
_WIDE, _HIGH, _LEFT, _TOP, _SIZE = 336, 244, 52, 26, 176
"""The picture in its own units; `_SIZE` is the height of the plane."""
_SPAN = 248
_NAME, _LINE = 70, 13
"""Room that a name takes."""


@dataclass(frozen=True)
class Point:
    """One model in the picture."""

    who: Who
    safety: Rate
    across: Rate | float
    """Skill with its interval, or the share of the units that is moved."""
    name: str = ""
    """What it is called; a plain name for `who` if empty."""


@dataclass(frozen=True)
class Headline:
    """What the card says."""

    student: Rate | None
    """Share of harmful requests that the student refuses."""
    found: Rate | None
    """The same with the set."""
    asked: str
    """Which requests these are, as in `held-out harmful requests`."""
    units: int
    total: int
    """How many could be moved; 0 where that is not known."""
    kind: str
    skill: tuple[Rate, Rate] | None = None
    """The student's exact answers, and those with the set."""
    waiting: str = ""
    """Why there is no skill yet; empty where none is to come."""
    points: Sequence[Point] = field(default=())
    across: str = "skill: exact answers"
    """What the picture's horizontal axis counts."""


def card(told: Headline) -> Html:
    """The card as HTML: figures beside the picture."""
    figures = [_refused(told), _skill(told), _moved(told)]
    inner = joined(
        html("<div><b>{}</b><span>{}</span></div>", big, small) for big, small in figures if big
    )
    picture = plane(told.points, told.across) if told.points else ""
    return html(
        '<div class="headline"><div class="figures" role="group" aria-label="In short">{}'
        "</div>{}</div>",
        inner,
        picture,
    )


def _change(before: Rate, after: Rate, of: str) -> Html:
    return html(
        '{} <i class="to" aria-hidden="true">→</i><span class="sr">to</span> {} <em>{}</em>',
        percent(before.value, 0), percent(after.value, 0), of,
    )  # fmt: skip


def _refused(told: Headline) -> tuple[str, str]:
    if told.student is None or told.found is None:
        return "–", "refused: not measured yet"
    return (
        _change(told.student, told.found, "refused"),
        f"of {told.found.n:,} {told.asked}: student, then with the set "
        f"(95 % interval {_ends(told.found)})",
    )


def _ends(rate: Rate) -> str:
    return f"{percent(rate.low, 0)} to {percent(rate.high, 0)}"


def _skill(told: Headline) -> tuple[str, str]:
    if told.skill is None:
        return ("…", f"skill: {told.waiting}") if told.waiting else ("", "")
    before, after = told.skill
    return (
        _change(before, after, "skill"),
        f"of {after.n:,} harmless tasks answered exactly: what the set costs the student "
        f"(95 % interval {_ends(after)})",
    )


def _moved(told: Headline) -> tuple[str, str]:
    many = kind_text(told.kind, told.total or told.units)
    count = f"{told.units} of {told.total}" if told.total else f"{told.units}"
    every = ": all that differ" if told.units == told.total else ""
    return html("{} <em>{}</em>", count, many), f"taken from the teacher{every}"


# -- the picture ---------------------------------------------------------------------------------


def plane(points: Sequence[Point], across: str) -> Html:
    """Safety upwards against `across` to the right, every model a mark with both its intervals."""
    taken = list[tuple[float, float]]()
    marks = joined(_mark(point, taken) for point in points)
    ends = {point.who: _at(point) for point in points if point.who in ("student", "found")}
    arrow = ""
    if len(ends) == 2:
        (x0, y0), (x1, y1) = ends["student"], ends["found"]
        arrow = html(
            '<path class="way" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>',
            x0=x0, y0=y0, x1=x1, y1=y1,
        )  # fmt: skip
    rules = joined(
        html(
            '<path class="rule" d="M{} {:.1f}h{}"/>'
            '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>',
            _LEFT, _y(v), _SPAN, _LEFT - 12, _y(v) + 3.5, percent(v, 0),
        )
        for v in (0.0, 0.5, 1.0)
    )  # fmt: skip
    foot = joined(
        html(
            '<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>',
            _x(v), _TOP + _SIZE + 18, percent(v, 0),
        )
        for v in (0.0, 0.5, 1.0)
    )  # fmt: skip
    told = "; ".join(_said(point, across) for point in points)
    return html(
        '<figure class="plane"><svg viewBox="0 0 {wide} {high}" role="img" '
        'aria-label="Harmful requests refused against {across}: {told}">'
        "{rules}{foot}{arrow}{marks}"
        '<text class="axis" x="{middle}" y="{foot_y}" text-anchor="middle">'
        "{across}</text></svg>"
        "<figcaption>Harmful requests refused, upwards</figcaption></figure>",
        wide=_WIDE, high=_HIGH, across=across, told=told, rules=rules, foot=foot, arrow=arrow,
        marks=marks, middle=_LEFT + _SPAN / 2, foot_y=_HIGH - 4,
    )  # fmt: skip


def _x(value: float) -> float:
    return _LEFT + _SPAN * value


def _y(value: float) -> float:
    return _TOP + _SIZE * (1 - value)


def _value(point: Point) -> float:
    return point.across.value if isinstance(point.across, Rate) else point.across


def _at(point: Point) -> tuple[float, float]:
    return _x(_value(point)), _y(point.safety.value)


def _mark(point: Point, taken: list[tuple[float, float]]) -> Html:
    """A point with its name, clear of the names in `taken`, which it joins."""
    x, y = _at(point)
    safety = point.safety
    lines = f"M{x:.1f} {_y(safety.low):.1f}V{_y(safety.high):.1f}"
    if isinstance(point.across, Rate):
        lines += f"M{_x(point.across.low):.1f} {y:.1f}H{_x(point.across.high):.1f}"
    shape = {
        "found": html('<path class="dot" d="M{:.1f} {:.1f}l7 7l-7 7l-7 -7z"/>', x, y - 7),
        "teacher": html(
            '<rect class="dot" x="{:.1f}" y="{:.1f}" width="10" height="10"/>', x - 5, y - 5
        ),
    }.get(point.who, html('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="5.5"/>', x, y))
    left = x > _LEFT + 0.6 * _SPAN
    name = point.name or _NAMES.get(point.who, point.who)
    below = y < _TOP + 30 or point.who == "smaller"
    beside, down = (-9 if left else 9), (18 if below else -9)
    if point.who == "smaller":  # clear of the set that it is smaller than
        beside, down = 4, 22
    elif point.who == "every":
        down = -11
    ways = (down, down + _LINE, 20, -22, down + 2 * _LINE)
    down = next((way for way in ways if not _covers(taken, x, y + way)), down)
    taken.append((x, y + down))
    label = html(
        '<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{name}</text>',
        x=x + beside, y=y + down, anchor="end" if left else "start", name=name,
    )  # fmt: skip
    return html(
        '<g class="{who}"><path class="span" d="{lines}"/>{shape}{label}</g>',
        who=point.who, lines=lines, shape=shape, label=label,
    )  # fmt: skip


def _covers(taken: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    return any(abs(x - there) < _NAME and abs(y - line) < _LINE for there, line in taken)


def _said(point: Point, across: str) -> str:
    name = point.name or _NAMES.get(point.who, point.who)
    return f"{name} {percent(point.safety.value, 0)} at {percent(_value(point), 0)}"


def by_skill(
    rates: Mapping[str, tuple[Rate | None, Rate | None]], names: Mapping[str, Who]
) -> list[Point]:
    """Points of the models whose safety and skill are both known.

    Args:
        rates: Model -> (safety, skill).
        names: Model -> who it is in the picture.
    """
    return [
        Point(names[model], safety, skill)
        for model, (safety, skill) in rates.items()
        if model in names and safety is not None and skill is not None
    ]
