"""What if just that layer were flipped? One number under each cell of the strip.

For the prompt on screen: the probability that the patched model's reply opens with a refusal, were
that one unit flipped. All units go in one batch of row-masked forward passes. The numbers belong to
a mask and vanish with it: the page shows them only while the strip still holds that mask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import Mask
from dapa.ui.belonging import is_loaded
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.session import Session
from dapa.workbench import ChatSettings, NoOpeners, Talk, WhatIfs


def build() -> gr.HTML:
    """Nothing to see: it carries the numbers to the strip."""
    return piece("", "whatif.js", elem_id="whatif", elem_classes="carrier")


def wire(
    dashboard: Dashboard,
    carrier: gr.HTML,
    after: Mapping[str, Any],
    talk: gr.State,
    session: gr.State,
    values: Mapping[str, Any],
) -> None:
    """Ask after each of the events `after`, by their names."""

    @guarded
    def look(now: Talk, here: Session, **given: Any) -> Html:
        bench = dashboard.workbench
        if now.last is None or not bench.loaded or here.epoch not in (dashboard.epoch, -1):
            return html("")
        if not is_loaded(dashboard, now.owner):  # what is on screen is another pair's
            return html("")
        ways = ChatSettings.read(given)
        before = now.undone().history("patched") if ways.goes_on else ()
        if not bench.pair.differs.get(here.kind) or _overlaps(here.mask, here.kind):
            return html("")
        try:
            told = bench.what_if(now.prompt, here.mask, here.kind, ways.format(), before)
        except NoOpeners:
            return html("")
        return carried(told)

    for name, event in after.items():
        event.then(
            look, [talk, session], carrier, inputs_kwargs=dict(values), api_name=f"{name}_whatif",
            show_progress="hidden", trigger_mode="always_last", concurrency_id="whatif",
            concurrency_limit=1,  # in their order: the newest figures come last
        )  # fmt: skip


def _overlaps(mask: Mask, kind: str) -> bool:
    """Does the mask hold units of other kinds? A flip of one layer would say little then."""
    return any(unit.kind != kind or unit.cut for unit in mask.units)


def carried(told: WhatIfs) -> Html:
    """The numbers as data for the strip."""
    cells = {str(cell.unit.layer): round(cell.refusal, 4) for cell in told.cells}
    body = json.dumps({"mask": told.mask.key, "now": round(told.refusal, 4), "cells": cells})
    return html('<i data-whatif="{}"></i>', body)
