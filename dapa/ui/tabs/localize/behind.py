"""The prompts behind a cell of a picture: their values at once, then the models' replies.

Replies are decoded for the first few prompts and kept in the run store, so the same cell costs
nothing a second time. They are folded until asked for: a real model's reply may be harmful.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import DapaError, Mask, Verdict
from dapa.ui.dashboard import Dashboard
from dapa.ui.harmless import harmless
from dapa.ui.parts import badge, layered, note, seen, table, title

_ROWS = 40
_REPLIES = 6


def cards(
    dashboard: Dashboard,
    head: str,
    about: str,
    rows: Sequence[tuple[str, str]],
    what: str,
    mask: Mask,
    how: Any = None,
) -> Iterator[str]:
    """The card twice: with values, then with replies.

    Args:
        dashboard: Who answers.
        head: Its title.
        about: How to read it.
        rows: (prompt, value as text), the most telling first.
        what: The values' heading.
        mask: Of the patched model; the student's reply stands alone where it is empty.
        how: The prompts' format, as they were measured; a plain chat template if None.
    """
    shown = list(rows[:_ROWS])
    safe = harmless(dashboard)
    yield _card(head, about, shown, what, {}, safe)
    try:
        said = dashboard.workbench.replies([text for text, _ in shown[:_REPLIES]], mask, how)
    except DapaError as error:
        yield _card(head, about, shown, what, {}, safe) + note(str(error), "fail")
        return
    yield _card(head, about, shown, what, said, safe)


def _card(
    head: str,
    about: str,
    rows: Sequence[tuple[str, str]],
    what: str,
    said: Mapping[str, Sequence[tuple[str, str, Verdict]]],
    safe: Callable[[str], bool],
) -> Html:
    def line(prompt: str) -> Html:
        ask = html(
            '<button class="link" dir="auto" data-prompt="{prompt}" title="Ask it in the chat">'
            "{prompt}</button>",
            prompt=prompt,
        )
        if prompt not in said:
            return ask
        replies = []
        for who, text, verdict in said[prompt]:
            word = seen(verdict.label, safe(prompt))
            spans = [(*verdict.span, f"evidence {word}")] if verdict.span else []
            replies.append(
                html(
                    '<p><b>{}</b> {} <span class="reply" dir="auto">{}</span></p>',
                    who, badge(verdict.label, safe(prompt)), layered(text, spans),
                )
            )  # fmt: skip
        marks = joined((badge(v.label, safe(prompt)) for _, _, v in said[prompt]), " ")
        return html("{}<details><summary>{}</summary>{}</details>", ask, marks, joined(replies))

    body = table(("prompt", what), [(line(text), value) for text, value in rows], numeric=[1])
    return html('{}<div class="scroll behind">{}</div>', title(head, about), body)
