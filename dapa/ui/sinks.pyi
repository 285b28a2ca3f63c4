"""Where text reaches the browser as HTML: here all that is no `Html` is made visible text.

Gradio shows two things as HTML: the value of a `gr.HTML` and the line of a toast. Both are made
here alone (tests/test_html_by_construction.py), so that a handler which forgot to escape shows
signs, not markup.
"""

from __future__ import annotations

import gradio as gr

from dapa.core.html import escaped

FAILED = "That did not work"

from gradio.events import Dependency

class Piece(gr.HTML):
    """A component whose value is `Html`; any other text is shown as the characters it has."""

    def postprocess(self, value: str | None) -> str | None:
        """What is sent to the browser."""
        return super().postprocess(None if value is None else str(escaped(value)))
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def toast(line: object, title: str, duration: float = 8) -> gr.Error:
    """A failure, to be raised; a line that is no `Html` is escaped."""
    return gr.Error(str(escaped(line)), duration=duration, title=title, print_exception=False)