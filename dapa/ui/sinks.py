"""Where text reaches the browser as HTML: here all that is no `Html` is made visible text.

Gradio shows two things as HTML: the value of a `gr.HTML` and the line of a toast. Both pass through
here (tests/test_html_by_construction.py), so that a handler which forgot to escape shows signs, not
markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dapa.core.html import escaped

FAILED = "That did not work"
_PLAIN = "${value}"
"""The template of a component that shows its value itself; another's script reads it as data."""


def shown(outputs: Sequence[Any], answer: Any) -> Any:
    """A handler's answer, each value for a place that shows HTML escaped unless it is `Html`.

    Args:
        outputs: The handler's components.
        answer: As Gradio takes it: a value, several, an update or values by their component.
    """
    if isinstance(answer, dict) and any(isinstance(key, gr.blocks.Block) for key in answer):
        return {block: _one(block, value) for block, value in answer.items()}
    if len(outputs) == 1:
        return _one(outputs[0], answer)
    if not isinstance(answer, list | tuple):
        return answer  # nothing for any of them
    return [_one(*pair) for pair in zip(outputs, answer, strict=False)] + [*answer[len(outputs) :]]


def _one(block: Any, value: Any) -> Any:
    if not isinstance(block, gr.HTML) or block.html_template != _PLAIN:
        return value
    if isinstance(value, dict) and isinstance(value.get("value"), str):
        return {**value, "value": escaped(value["value"])}
    return escaped(value) if isinstance(value, str) else value


def toast(line: object, title: str, duration: float = 8) -> gr.Error:
    """A failure, to be raised; a line that is no `Html` is escaped."""
    return gr.Error(str(escaped(line)), duration=duration, title=title, print_exception=False)
