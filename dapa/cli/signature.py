"""A command's options, made from the settings that its function takes.

    @options
    def search(pair: PairOptions, settings: SearchSettings, json: Json = None) -> None: ...

Every parameter whose type is a settings dataclass becomes one option a field; the command line
fills them, and the function gets the dataclass, checked. All other parameters stay as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from dapa.core.errors import SettingError
from dapa.core.settings import FieldType, Setting, Settings, described, shapes

_CONTEXT = "context"
"""Under what name a command is told which options were typed."""


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its settings spread out into options."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if _is_settings(hint)}
    spread: list[inspect.Parameter] = []
    homes: dict[str, tuple[str, str]] = {}
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in groups:
            hint = hints[parameter.name]
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint))
            continue
        for made in _parameters(groups[parameter.name]):
            assert made.name not in homes, f"two settings are called {made.name}"
            homes[made.name] = (parameter.name, made.name)
            spread.append(made)

    clashes = [clash for cls in groups.values() for clash in _clashes(cls)]
    if clashes:
        kind = inspect.Parameter.KEYWORD_ONLY
        spread.append(inspect.Parameter(_CONTEXT, kind, annotation=typer.Context))

    @functools.wraps(command)
    def filled(**given: Any) -> None:
        _one_of_two(given.pop(_CONTEXT, None), clashes)
        values: dict[str, dict[str, Any]] = {name: {} for name in groups}
        for name, (group, field) in homes.items():
            values[group][field] = given.pop(name)
        made = {name: _made(cls, values[name]) for name, cls in groups.items()}
        command(**made, **given)

    taken = [p.name for p in spread]
    assert len(set(taken)) == len(taken), f"an option stands twice: {taken}"
    filled.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    filled.__annotations__ = {p.name: p.annotation for p in spread}
    return filled


def _clashes(cls: type[Settings]) -> list[tuple[str, str]]:
    """Fields of which only one is given: what stands in for what."""
    both = [(name, one.instead) for name, one in described(cls).items()]
    return [(name, other) for name, other in both if other]


def _one_of_two(here: typer.Context | None, clashes: Sequence[tuple[str, str]]) -> None:
    """SettingError where both of two were typed, be it as the default is."""
    for one, other in clashes if here is not None else ():
        sources = [here.get_parameter_source(name) for name in (one, other)]  # type: ignore[union-attr]
        if all(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise SettingError(f"give --{other} or --{one}, not both: one stands in for the other")


def _is_settings(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _parameters(cls: type[Settings]) -> list[inspect.Parameter]:
    """One parameter a field that has an option."""
    found = []
    for field in dataclasses.fields(cls):
        one: Setting | None = field.metadata.get("setting")
        if one is None or one.flag == "-":
            continue
        shape = shapes(cls)[field.name]
        found.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(field, one, shape),
                annotation=_annotation(field.name, one, shape),
            )
        )
    return found


def _default(field: dataclasses.Field[Any], one: Setting, shape: FieldType) -> Any:
    plain: Any = field.default
    if shape.base is tuple:
        return (list(plain) or None) if _repeated(one) else (",".join(plain) or None)
    return plain


def _repeated(one: Setting) -> bool:
    """Is the option of a list given once a part, rather than once with commas?"""
    return one.lines > 1


def _annotation(name: str, one: Setting, shape: FieldType) -> Any:
    hint: Any = shape.base
    if shape.base is tuple:
        hint = (list[str] if _repeated(one) else str) | None
    elif shape.optional:
        hint = shape.base | None
    words = (
        one.help or f"{one.label[:1].upper()}{one.label[1:]}{f' ({one.unit})' if one.unit else ''}."
    )
    flag = one.flag or f"--{name.replace('_', '-')}"
    if shape.base is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    return Annotated[hint, typer.Option(flag, help=words, metavar=one.metavar or None)]


def _made(cls: type[Settings], given: dict[str, Any]) -> Settings:
    """The dataclass; lists are split, files named by their whole path."""
    values = {}
    for field in dataclasses.fields(cls):
        if field.name not in given:
            continue
        one, value = field.metadata["setting"], given[field.name]
        if shapes(cls)[field.name].base is tuple:
            value = _parts(one, value)
        elif one.file and value is not None and Path(value).exists():
            value = str(Path(value).resolve())  # a run can be resumed from another folder
        values[field.name] = value
    return cls(**values)


def _parts(one: Setting, value: Any) -> tuple[str, ...]:
    """A list's parts: all of the choices, none, or those that are named."""
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    named = tuple(dict.fromkeys(filter(None, (part.strip() for part in parts))))
    if one.choices is not None and named in (("all",), ("none",)):
        return tuple(one.choices()) if named == ("all",) else ()
    if len(named) > one.most:
        raise SettingError(f"{one.label} has {len(named)} parts; {one.most} are the most")
    return named
