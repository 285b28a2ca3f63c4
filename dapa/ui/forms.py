"""Forms made from settings: one component a field, folded under a line that reads as a sentence.

A form hands its values on by name, so a handler is told `**values` and makes the dataclass of them;
what is wrong with a value is said by the dataclass. A new setting needs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import gradio as gr

from dapa.core.errors import SettingError
from dapa.core.html import html
from dapa.core.settings import FieldType, Setting, Settings, described, presets, shapes
from dapa.ui.dashboard import guarded, piece

S = TypeVar("S", bound=Settings)
Offers = Mapping[str, Mapping[str, str]]
"""Field -> name -> title: choices that depend on the server rather than on the program."""
_SHORT = 20
"""Characters of a choice that fit a field of usual width; where one is longer it takes two."""
_UNTOLD = "Settings"
"""The line over fields that are no part of a sentence."""


@dataclass(frozen=True)
class Form(Generic[S]):
    """The components of one settings dataclass."""

    cls: type[S]
    parts: Mapping[str, Any]
    """Field -> component: an event's `inputs_kwargs`."""
    line: gr.Accordion | None = None
    """The sentence under which they are folded."""

    @property
    def changes(self) -> list[Any]:
        """The events of any setting made otherwise."""
        return [component.change for component in self.parts.values()]

    def read(self, values: Mapping[str, Any], **beside: Any) -> S:
        """The settings of what the page holds; SettingError says what is wrong."""
        return self.cls.read({k: values[k] for k in self.parts if k in values}, **beside)

    def filled(self, settings: S) -> list[Any]:
        """What the components hold where these settings were chosen, in the order of `parts`."""
        return [_held(self.cls, name, getattr(settings, name)) for name in self.parts]

    def sentence(self, **offered: Any) -> str:
        """The line that a fresh form shows."""
        values = {**{k: presets(self.cls)[k] for k in self.parts}, **offered}
        return self.cls.read(values).sentence() or _UNTOLD

    def follow(self, api_name: str, names: Sequence[str] | None = None) -> Any:
        """Let the sentence follow the values; returns the event, for what else follows.

        Args:
            api_name: Of the event.
            names: The fields that are followed; all of them if None. What else follows a field
                must come behind this event: see tests/test_events.py.
        """

        @guarded
        def say(**values: Any) -> Any:
            try:
                return gr.update(label=self.read(values).sentence() or _UNTOLD)
            except SettingError:
                return gr.skip()  # the button that starts will say what is wrong

        return gr.on(
            [self.parts[name].change for name in names or self.parts],
            say,
            inputs_kwargs=dict(self.parts),
            outputs=self.line,
            api_name=api_name,
            trigger_mode="always_last",
            show_progress="hidden",
        )


def build(
    cls: type[S], prefix: str, offers: Offers | None = None, only: Sequence[str] | None = None
) -> Form[S]:
    """The components, in rows, inside whatever is open; no sentence.

    Args:
        cls: The settings.
        prefix: Of the components' ids, as in `search` for `search-seed`.
        offers: Choices that depend on the server.
        only: The fields wanted; None takes every field that is on a form.
    """
    ones, kinds, values = described(cls), shapes(cls), presets(cls)
    names = [f.name for f in fields(cls) if f.name in values and (only is None or f.name in only)]
    rows: dict[int, list[str]] = {}
    for name in names:
        rows.setdefault(ones[name].row, []).append(name)
    parts: dict[str, Any] = {}
    for row in sorted(rows):
        if len(rows) > 2 and (group := _group(row, rows[row])):
            piece(html('<p class="group-name">{}</p>', group))
        ticks = all(kinds[name].base is bool for name in rows[row])
        with gr.Row(elem_classes="fields ticks" if ticks else "fields"):
            for name in rows[row]:
                choices = (offers or {}).get(name)
                ident = f"{prefix}-{name.replace('_', '-')}"
                parts[name] = _component(ones[name], kinds[name], values[name], ident, choices)
    return Form(cls, {name: parts[name] for name in names})


def _group(row: int, names: Sequence[str]) -> str:
    """What the fields of a row are about, where a form is long; empty for its first ones."""
    if row == 60 and any(name.startswith("max_") for name in names):
        return "How much at most"
    return {50: "Prompts and replies", 90: "What the models read"}.get(row, "")


@contextmanager
def folded(
    cls: type[S], prefix: str, offers: Offers | None = None, only: Sequence[str] | None = None
) -> Iterator[Form[S]]:
    """The components, folded under their sentence; what is built inside stands below them."""
    ident = f"{prefix}-settings"
    with gr.Accordion("", open=False, elem_classes="sentence", elem_id=ident) as line:
        form = build(cls, prefix, offers, only)
        line.label = form.sentence()
        yield Form(cls, form.parts, line)


def _held(cls: type[Settings], name: str, value: Any) -> Any:
    """A field's value as its component holds it; `Settings.read` reads it back."""
    one, shape = described(cls)[name], shapes(cls)[name]
    if shape.base is tuple:
        ticked = one.offered or one.choices
        return list(value) if ticked else ("\n" if one.lines > 1 else ", ").join(value)
    return "" if value is None and shape.base not in (int, float) else value


def _component(
    one: Setting, shape: FieldType, value: Any, ident: str, choices: Mapping[str, str] | None
) -> Any:
    """One field as a component of the page."""
    made: dict[str, Any] = {"label": _label(one, shape), "elem_id": ident, "min_width": 140}
    info = {"info": one.help} if one.help and one.row >= 0 and shape.base is not bool else {}
    known = choices or ((one.offered or one.choices)() if one.offered or one.choices else None)
    if shape.base is bool:
        return gr.Checkbox(bool(value), **made)
    if shape.base is tuple and known is not None:
        titles = [(title, name) for name, title in known.items()]
        return gr.CheckboxGroup(titles, value=list(value), **made)
    if shape.base is tuple:
        typed = ("\n" if one.lines > 1 else ", ").join(value)
        return gr.Textbox(typed, lines=one.lines, placeholder=one.placeholder or None, **made)
    if known is not None:
        titles = [(title, name) for name, title in known.items()]
        none = [("as it suits", "")] if shape.optional and "" not in known else []
        empty = "" if none or "" in known else None
        roomy: dict[str, Any] = (
            {"elem_classes": "roomy"} if max(map(len, known.values())) > _SHORT else {}
        )
        return gr.Dropdown([*none, *titles], value=value or empty, **made, **roomy)
    if shape.base in (int, float):
        return _number(one, shape, value, made)
    return gr.Textbox(
        value or "", lines=one.lines, max_length=one.most, placeholder=one.placeholder or None,
        **made, **info if one.lines > 1 else {},
    )  # fmt: skip


def _number(one: Setting, shape: FieldType, value: Any, made: dict[str, Any]) -> Any:
    whole = shape.base is int
    if one.step is not None and one.low is not None and one.high is not None:
        return gr.Slider(one.low, one.high, value, step=one.step, **made)
    step = {"step": one.step} if one.step else {}
    least = 0 if shape.optional else one.low
    return gr.Number(
        value,
        minimum=0 if shape.optional else least,
        precision=0 if whole else None,
        **step,
        **made,
    )


def _label(one: Setting, shape: FieldType) -> str:
    unit = f", {one.unit}" if one.unit and shape.base in (int, float) else ""
    empty = f" (0: {one.none})" if shape.optional and shape.base in (int, float) else ""
    return f"{one.label}{unit}{empty}"
