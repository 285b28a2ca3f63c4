"""Settings have one source: a frozen dataclass whose fields say what forms and options need.

    @dataclass(frozen=True)
    class Baking(Settings):
        minutes: int = setting(30, "minutes in the oven", low=1, high=600, unit="min")

A dataclass checks itself, is read from anything that a browser or a file may send, and tells itself
as one line. Command-line options, forms and that line are made from it, so a new setting is one
field. This module knows neither a command line nor a screen.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from dapa.core.errors import SettingError

MAX_SEED = 2**63 - 1
MOST_TEXT = 100_000
SHOWN = 40
"""Letters of a wrong value that a message repeats."""

Choices = Callable[[], Mapping[str, str]]
"""Name -> title; called late, since tables of choices may lie in heavy rooms."""


@dataclass(frozen=True)
class Setting:
    """What people are told of one field, and what it may hold."""

    label: str
    """On the form and in messages; lower case."""
    help: str = ""
    """A sentence, for the command line and below the field."""
    low: float | None = None
    high: float | None = None
    above: bool = False
    """Must a value lie above `low`, rather than at it?"""
    step: float | None = None
    """A form shows a slider where both ends and a step are given."""
    unit: str = ""
    none: str = "no limit"
    """What a number that may be None means when nothing, or 0, is typed."""
    choices: Choices | None = None
    offered: Choices | None = None
    """Of the choices, what a form offers; all of them if None."""
    most: int = MOST_TEXT
    """Letters of a text, or parts of a list, at most."""
    lines: int = 1
    """Rows of a text field; a list with more than one is typed one part a line."""
    placeholder: str = ""
    preset: Any = ...
    """What a form starts with, where that is not the default."""
    row: int = 0
    """Fields of one number stand side by side on a form."""
    flag: str = ""
    """The option's name, where it is not the field's; "-" for none."""
    metavar: str = ""
    form: bool = True
    """Is it on the form?"""
    file: bool = False
    """May it name a file? Then a stored run keeps the whole path."""
    instead: str = ""
    """The field that this one stands in for: on the command line only one of the two is given."""
    told: Callable[[Any], str] | None = None
    """The value as a part of the sentence; "" leaves it out. None: never told."""


def setting(default: Any, label: str, help: str = "", **more: Any) -> Any:
    """A field of a settings dataclass; `more` as in `Setting`."""
    metadata = {"setting": Setting(label, help, **more)}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FieldType:
    """The type of a field, as far as settings have types."""

    base: type
    """bool, int, float, str or tuple (of texts)."""
    optional: bool
    """May it be None?"""


@dataclass(frozen=True)
class Settings:
    """What a job's settings have in common; a subclass adds its fields."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SettingError: The first that is outside of what is allowed, and what is.
        """
        for name, one in described(type(self)).items():
            named = dataclasses.replace(one, label=_both_names(name, one))
            _check(named, shapes(type(self))[name], getattr(self, name))
        self.check()

    def check(self) -> None:
        """What several fields must be together; SettingError says what they are not."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, which `from_dict` takes back."""
        return dataclasses.asdict(self)

    def arguments(self) -> list[str]:
        """The options that give these settings on a command line: those that are not defaults."""
        words: list[str] = []
        for name, one in described(type(self)).items():
            value, usual = getattr(self, name), type(self).__dataclass_fields__[name].default
            if one.flag == "-" or value == usual or value is None:
                continue
            flag = one.flag or f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag.removeprefix('--')}")
            elif isinstance(value, tuple) and one.lines > 1:
                words += [word for part in value for word in (flag, part)]
            else:
                shown = (",".join(value) or "none") if isinstance(value, tuple) else str(value)
                words += [flag, shown]
        return words

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Read what was stored; keys of other versions are left out, absent ones are defaults."""
        known = {f.name for f in fields(cls)}
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items() if k in known}
        return cls(**kept)

    @classmethod
    def read(cls, values: Mapping[str, Any], **beside: Any) -> Self:
        """Settings from values that anyone may have sent, by their fields' names.

        A number that may be None is None where nothing, or 0 below its least value, is typed.

        Args:
            values: Of fields on the form; what is absent takes its default.
            beside: Fields that are on no form.

        Raises:
            SettingError: A value of the wrong kind, outside its bounds, or of no field.
        """
        known = described(cls)
        strange = [name for name in values if name not in known]
        if strange:
            raise SettingError(f"{str(strange[0])[:SHOWN]!r} is no setting of this form")
        taken = {name: read(known[name], shapes(cls)[name], v) for name, v in values.items()}
        return cls(**{**taken, **beside})

    def sentence(self) -> str:
        """The settings as one line, in the order of their rows."""
        ones = sorted(described(type(self)).items(), key=lambda item: item[1].row)
        told = (
            self.tell(name, one.told(getattr(self, name)))
            for name, one in ones
            if one.told is not None
        )
        return " · ".join(filter(None, told))

    def tell(self, name: str, words: str) -> str:
        """One field's part of the sentence; a subclass changes what depends on other fields."""
        return words


@dataclass(frozen=True, kw_only=True)
class Seeded(Settings):
    """Settings of what draws at random."""

    seed: int = setting(
        0,
        "seed",
        "Splits, samples and random choices follow it.",
        low=0,
        high=MAX_SEED,
        row=50,
        told=lambda seed: f"seed {seed}",
    )


def described(cls: type[Settings]) -> dict[str, Setting]:
    """The fields that people set, by name."""
    return {f.name: f.metadata["setting"] for f in fields(cls) if "setting" in f.metadata}


def shapes(cls: type[Settings]) -> dict[str, FieldType]:
    """The types of a class's fields, by name."""
    hints = get_type_hints(cls)
    return {f.name: _shape(hints[f.name]) for f in fields(cls)}


def presets(cls: type[Settings]) -> dict[str, Any]:
    """What a form of these settings starts with, by name."""
    found = {}
    for f in fields(cls):
        one = f.metadata.get("setting")
        if one is None or not one.form:
            continue
        found[f.name] = _default(f) if one.preset is ... else one.preset
    return found


def _both_names(name: str, one: Setting) -> str:
    """What a form calls the field, and what an option and Python call it where that is not told."""
    words = name.replace("_", " ")
    return one.label if words in one.label else f"{one.label} ({words})"


def _default(f: dataclasses.Field[Any]) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default


def _shape(hint: Any) -> FieldType:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return FieldType(_shape(inner[0]).base, len(inner) < len(get_args(hint)))
    origin = get_origin(hint) or hint
    if origin is types.GenericAlias or not isinstance(origin, type):
        return FieldType(str, False)  # a Literal
    return FieldType(origin, False)


def _check(one: Setting, shape: FieldType, value: Any) -> None:
    """One value against its bounds and choices."""
    if value is None:
        if not shape.optional:
            raise SettingError(f"{one.label} is missing; give one")
        return
    if shape.base in (int, float):
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not _within(one, value)
        ):
            raise SettingError(f"{one.label} is {_said(value)}; choose {allowed(one)}")
    elif one.choices is not None:
        for part in value if shape.base is tuple else (value,):
            if part:
                one_of(part, one.label, one.choices())


def _within(one: Setting, value: float) -> bool:
    low = one.low is None or (value > one.low if one.above else value >= one.low)
    return low and (one.high is None or value <= one.high) and (isfinite(value))


def allowed(one: Setting) -> str:
    """What a number may be, in words."""
    if one.low is not None and one.high is not None:
        start = f"above {_number(one.low)} and up to" if one.above else f"{_number(one.low)} to"
        return f"{start} {_number(one.high)}"
    if one.low is not None:
        return f"more than {_number(one.low)}" if one.above else f"{_number(one.low)} or more"
    return "a number"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 10**9 else f"{value:g}"


def read(one: Setting, shape: FieldType, value: Any) -> Any:
    """One value from anywhere as its field holds it; SettingError for what it is not."""
    empty = value is None or (isinstance(value, str) and not value.strip())
    if shape.base is bool:
        if not isinstance(value, bool):
            raise SettingError(f"{one.label} is {_said(value)}; switch it on or off")
        return value
    if shape.base in (int, float):
        if shape.optional and (empty or value == 0 and not _within(one, 0)):
            return None
        low = float("-inf") if one.low is None else one.low
        high = float("inf") if one.high is None else one.high
        if shape.base is int:
            return whole(value, one.label, low, high)
        return real(value, one.label, low, high)
    if shape.base is tuple:
        return _parts(one, value)
    if shape.optional and empty:
        return None
    if one.choices is not None and value:
        return one_of(value, one.label, one.choices())
    return text(value if value is not None else "", one.label, one.most).strip()


def _parts(one: Setting, value: Any) -> tuple[str, ...]:
    """A list from a form: boxes ticked, or parts typed with commas or line by line."""
    if isinstance(value, str):
        lines = text(value, one.label, MOST_TEXT)
        split = lines.splitlines() if one.lines > 1 else lines.replace(",", " ").split()
        parts: Iterable[Any] = split
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        raise SettingError(f"{one.label} must be a list, not {type(value).__name__}")
    words = [text(part, one.label, MOST_TEXT).strip() for part in parts]
    found = tuple(dict.fromkeys(filter(None, words)))
    what = one.unit or "parts"
    if len(found) > one.most:
        raise SettingError(f"{one.label} has {len(found):,} {what}; {one.most:,} are the most")
    if one.choices is not None:
        for part in found:
            one_of(part, one.label, one.choices())
    return found


def _said(value: Any) -> str:
    return str(value)[:SHOWN] or "nothing"


def whole(value: Any, what: str, low: float, high: float) -> int:
    """A whole number from anywhere; SettingError says what was given and what is allowed."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value  # a seed may be larger than a float can tell
    number = _float(value)
    if not low <= number <= high:
        raise SettingError(f"{what} is {_said(value)}; choose {_range(low, high)}")
    if number != int(number):
        raise SettingError(f"{what} is {_said(value)}; choose a whole number")
    return int(number)


def real(value: Any, what: str, low: float, high: float) -> float:
    """A number from anywhere, within [low, high]."""
    number = _float(value)
    if not (low <= number <= high and isfinite(number)):
        raise SettingError(f"{what} is {_said(value)}; choose {_range(low, high)}")
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _range(low: float, high: float) -> str:
    """What is allowed, in words."""
    if isfinite(low) and isfinite(high):
        return f"{_number(low)} to {_number(high)}"
    if isfinite(low):
        return f"{_number(low)} or more"
    return f"{_number(high)} or less" if isfinite(high) else "a number"


def text(value: Any, what: str, most: int = MOST_TEXT) -> str:
    """A text from anywhere; SettingError for anything else."""
    if not isinstance(value, str):
        raise SettingError(f"{what} must be text, not {type(value).__name__}")
    if len(value) > most:
        raise SettingError(f"{what} has {len(value):,} characters; {most:,} are the most")
    return value


def one_of(value: Any, what: str, allowed: Any) -> str:
    """A choice that exists; SettingError lists what does."""
    if not isinstance(value, str) or value not in allowed:
        raise SettingError(
            f"{what} {str(value)[:SHOWN]!r} does not exist; choose one of {', '.join(allowed)}"
        )
    return value


def check_seed(seed: int) -> int:
    """The seed itself; SettingError outside 0 to 2**63 - 1."""
    if not 0 <= seed <= MAX_SEED:
        raise SettingError(f"seed {seed} is out of range; choose 0 to {MAX_SEED}")
    return seed
