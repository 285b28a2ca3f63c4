"""What every part of the chat tab reads or redraws: the conversation, its picture, its settings."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from dapa.ui import forms
from dapa.workbench import ChatSettings


@dataclass(frozen=True)
class Conversation:
    """The components that the chat's own parts share."""

    talk: gr.State
    veil: gr.State
    """The order of unnamed panes in a blind comparison; empty where panes are named."""
    panes: gr.HTML
    prompt: gr.Textbox
    form: forms.Form[ChatSettings]
