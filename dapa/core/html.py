"""HTML that is safe by construction: a template from our source, and values that are escaped.

`html("<b>{}</b>", value)` is the only way to make markup: the template is a literal in the source
(tests/test_html_by_construction.py reads every call), a value that is text becomes visible
characters, one that is `Html` already is put in as it is, a number is written as its format says.
Escaping helps only in text and inside of quotes: elsewhere in a tag no text is taken at all.
Knows no page: whoever shows a text escapes what is not `Html` with `escaped`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from string import Formatter
from typing import Any, LiteralString

from markupsafe import Markup

Html = Markup
"""Text that is HTML already; made by `html` alone, joined and sliced as any text."""


def html(template: LiteralString, /, *values: Any, **named: Any) -> Html:
    """A template with values, as `str.format` writes them, each escaped unless it is `Html`.

    Args:
        template: A literal; braces that are not fields are doubled.
        *values: For `{}`.
        **named: For `{name}`, `{name:,}`.

    Raises:
        TypeError: Text where an attribute would stand, as in `<td {}>` or `<td class={}>`.
    """
    for field in _bare(template):
        value = values[field] if isinstance(field, int) else named[field]
        if not isinstance(value, Markup):
            raise TypeError(f"{value!r} would be an attribute in {template!r}; make it with html()")
    return Markup(sendable(Markup(template).format(*values, **named)))


def when(there: Any, template: LiteralString, /, *values: Any, **named: Any) -> Html:
    """The same if `there` is true, else nothing: for attributes and parts that come and go."""
    return html(template, *values, **named) if there else Markup()


def joined(parts: Iterable[Any], by: str = "") -> Html:
    """Parts after each other, with `by` between them; text is escaped, `by` too."""
    return Markup(sendable(Markup.escape(by).join(parts)))


def escaped(value: Any) -> Html:
    """What a place that shows HTML may be given: `Html` as it is, all else as visible text."""
    return Markup(sendable(Markup.escape(value)))


def foreign(text: str) -> Html:
    """Markup that a library made and escaped; the test names each caller with its reason."""
    return Markup(text)


def sendable(text: str) -> str:
    """Text as it can be sent: half a character, which UTF-8 has no bytes for, becomes a sign."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


@cache
def _bare(template: str) -> tuple[int | str, ...]:
    """The fields of a template that stand in a tag, but in no quotes."""
    found: list[int | str] = []
    within, numbered = "", 0  # nothing, a tag, or the quote of an attribute in it
    for text, field, _, _ in Formatter().parse(template):
        for sign, behind in zip(text, f"{text[1:]}{{", strict=False):
            if not within and sign == "<" and not behind.isspace():
                within = "<"
            elif within == "<" and sign in ">\"'":
                within = "" if sign == ">" else sign
            elif sign == within:
                within = "<"
        if field is not None:
            if within == "<" or text.endswith("="):
                found.append(field.partition(".")[0] or numbered)
            numbered += not field
    return tuple(found)
