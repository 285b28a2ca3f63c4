"""Gradio's Blocks with one promise more: values that do not fit get one plain, escaped line.

Every handler is reachable by a raw POST, and Gradio reads the values before our own checks do; what
it says then repeats what was sent, and goes to the log with a traceback. Neither happens here.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from dapa.core.html import sendable
from dapa.ui.sinks import FAILED, shown, toast

_SHOWN = 120


class Page(gr.Blocks):
    """A page whose handlers refuse missing, extra and wrong-typed values in plain words."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> Any:
        """Read the values sent to a handler; gr.Error in plain words if they do not fit."""
        wanted, got = len(block_fn.inputs), len(inputs) if isinstance(inputs, list) else -1
        if got != wanted:
            raise _refusal(f"this handler takes {wanted} values, not {max(got, 0)}")
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error as error:
            raise _refusal(str(error.message)) from None
        except Exception as error:
            raise _refusal(f"a value does not fit its field ({type(error).__name__})") from None

    async def postprocess_data(
        self, block_fn: Any, predictions: list[Any] | dict[Any, Any], state: Any
    ) -> list[Any]:
        """What is sent back, escaped where it is shown as HTML.

        Half a character would make the whole answer unsendable.
        """
        told = shown(block_fn.outputs, predictions)
        return _sendable(await super().postprocess_data(block_fn, told, state))


def _sendable(value: Any) -> Any:
    """The same value, each text in it as UTF-8 can carry it."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, list):
        return [_sendable(each) for each in value]
    if type(value) is dict:
        return {_sendable(key): _sendable(each) for key, each in value.items()}
    return value


def _refusal(why: str) -> gr.Error:
    short = why if len(why) <= _SHOWN else why[: _SHOWN - 1] + "…"
    return toast(f"{short}; reload the page and choose again", FAILED)
