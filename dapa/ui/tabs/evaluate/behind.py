"""The replies behind a cell of the table: read, sorted, narrowed, taken away as CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import Label, Manner, SettingError
from dapa.ui import download
from dapa.ui.belonging import title_of
from dapa.ui.dashboard import guarded, one_of, piece, text
from dapa.ui.parts import hint
from dapa.ui.tabs.evaluate import scores
from dapa.ui.tasks import Task
from dapa.writing.tables import csv_text

_ANY, _HOW = "any verdict", "any manner"
_UNREAD = hint("Replies", "Press a cell of the table to read the replies behind it.")
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "evaluate"}


@dataclass(frozen=True)
class Behind:
    """The card's components."""

    words: gr.Textbox
    verdict: gr.Dropdown
    order: gr.Dropdown
    manner: gr.Dropdown
    csv: gr.Button
    replies: gr.HTML
    carrier: gr.HTML
    cell: gr.State
    """(model, measure) that was pressed; empty before."""

    @property
    def how(self) -> list[Any]:
        """Which replies are wanted, and in what order: the inputs of `_read`."""
        return [self.words, self.verdict, self.order, self.manner]


def build() -> Behind:
    """Layout: the replies, under them what narrows and sorts them."""
    with gr.Column(elem_classes="card belongs", visible=True, elem_id="eval-card"):
        replies = piece(_UNREAD, "shelf.js", elem_id="eval-replies")
        with gr.Row(elem_classes="buttons"):
            words = gr.Textbox(
                "", label="words", max_length=200, scale=1, min_width=160, elem_id="eval-words"
            )
            verdict = gr.Dropdown(
                [_ANY, *map(str, Label)], value=_ANY, label="verdict", scale=0, min_width=160,
                filterable=False,
            )  # fmt: skip
            order = gr.Dropdown(
                list(scores.ORDERS), value="as asked", label="order", scale=0, min_width=180,
                filterable=False, elem_id="eval-order",
            )  # fmt: skip
            manner = gr.Dropdown(
                [_HOW, *map(str, Manner)], value=_HOW, label="manner", scale=0, min_width=160,
                filterable=False, elem_id="eval-manner",
            )  # fmt: skip
            csv = gr.Button("Download CSV", elem_classes="plain", elem_id="eval-csv")
    carrier = download.carrier("eval-file")
    return Behind(words, verdict, order, manner, csv, replies, carrier, gr.State(()))


def wire(
    parts: Behind, table: gr.HTML, shown: gr.State, task_of: Callable[[Any], Task | None]
) -> None:
    """A press of a cell in `table` opens its replies; `shown` names the evaluation."""

    def rows_of(shown: Any, cell: Any) -> list[dict[str, Any]]:
        task = task_of(shown)
        found = task.result if task is not None else None
        if found is None or not isinstance(cell, tuple) or len(cell) != 2:
            raise SettingError("no table is on the screen; press Evaluate, then a cell")
        model, measure = cell
        if model not in found.models:
            raise SettingError(f"there is no column {model[:40]!r}; press a cell of the table")
        return [row.as_dict() for row in found.cell(model, measure)]

    def replies_of(shown: Any, cell: Any, *how: Any) -> str:
        return scores.replies(rows_of(shown, cell), *cell, *_read(*how))

    @guarded
    def open_cell(event: gr.EventData, shown: Any, *how: Any) -> tuple[Any, str]:
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        cell = (str(data.get("model"))[:200], str(data.get("measure"))[:200])
        return cell, replies_of(shown, cell, *how)

    @guarded
    def filtered(shown: Any, cell: Any, *how: Any) -> Any:
        return replies_of(shown, cell, *how) if cell else gr.skip()

    def as_csv(shown: Any, cell: Any, *how: Any) -> tuple[str, str]:
        rows = scores.chosen(rows_of(shown, cell), *_read(*how))
        task = task_of(shown)
        over = task.result.asked if task is not None else ""
        head = (
            "prompt", "category", "reply", "verdict", "manner", "judge", "reason", "hit", "tokens",
            "cut", "begun",
        )  # fmt: skip
        what = f"{cell[0]} · {scores.title_of(cell[1], over)}"
        origin = f"{title_of(task.owner) if task is not None else ''} · {what}"
        return "dapa-replies.csv", csv_text(head, [[r.get(k) for k in head] for r in rows], origin)

    shown.change(  # another table: what was read of the last one is not of this
        lambda: ((), _UNREAD), None, [parts.cell, parts.replies], api_name="evaluate_unread",
        show_progress="hidden",
    )  # fmt: skip
    table.select(
        open_cell, [shown, *parts.how], [parts.cell, parts.replies], api_name="evaluate_cell",
        **_QUIET,
    )  # fmt: skip
    chosen = [shown, parts.cell, *parts.how]
    for name, event in (
        ("words", parts.words.submit),
        ("verdict", parts.verdict.input),
        ("order", parts.order.input),
        ("manner", parts.manner.input),
    ):
        event(filtered, chosen, parts.replies, api_name=f"evaluate_{name}", **_QUIET)
    download.offer(parts.csv, as_csv, chosen, parts.carrier, "evaluate_csv")


def _read(
    words: Any = "", verdict: Any = _ANY, order: Any = "as asked", manner: Any = _HOW
) -> tuple[str, str, str, str]:
    """Which replies of a cell are wanted, and in what order: words, verdict, order, manner."""
    said = one_of(verdict, "verdict", [_ANY, *map(str, Label)])
    only = "" if said == _ANY else said
    how = one_of(manner, "manner", [_HOW, *map(str, Manner)])
    by = one_of(order, "order", list(scores.ORDERS))
    return text(words or "", "words", 200), only, by, "" if how == _HOW else how
