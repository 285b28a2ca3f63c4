"""A task of the server as a card shows it: buttons that say how far it is, and a progress line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined, when
from dapa.core.measurement import Measurement
from dapa.ui.parts import about, bar, note, seconds, title
from dapa.ui.tasks import Task

STATES = {
    "waiting": "waits in line",
    "running": "being measured",
    "done": "measured",
    "stopped": "stopped early",
    "failed": "failed",
}
_MARKS = {"waiting": "…", "running": "…", "done": "✓", "stopped": "◐", "failed": "✕"}
OPS = ("show", "again", "stop")
"""What a press may ask for."""


def stage(task: Task | None) -> Any:
    """What moves while a task works; whole seconds, so that the line moves once a second."""
    if task is None or task.over:
        return task.state if task else ""
    doing, share, left = task.progress()
    return (doing, round(share, 3), left and int(left), task.stopping, task.held)


def pace(seconds: float) -> float:
    """Seconds from one look to the next, of what has gone on for so long.

    Each look costs the browser up to a third of a second of processor time, which on a laptop is
    taken from the models: Gradio searches its tree of components for all that ever changed.
    """
    return 0.5 if seconds < 5 else 1.0 if seconds < 20 else 2.0


def clock(task: Task | None) -> gr.Timer:
    """Looks again while the task works."""
    if task is None or task.over:
        return gr.Timer(active=False)
    return gr.Timer(pace(task.seconds), active=True)


def toolbar(
    head: str,
    offered: Mapping[str, Measurement],
    tasks: Mapping[str, Task | None],
    chosen: str,
    ready: bool,
) -> Html:
    """The buttons under `head`; each says what it asks and what came of its measurement."""
    buttons = []
    for name, one in offered.items():
        task = tasks.get(name)
        state = task.state if task else "waiting"
        mark = when(task, ' <span aria-hidden="true">{}</span>', _MARKS[state])
        tip = f"{one.heading} ({STATES[state]})" if task else one.heading
        buttons.append(
            html(
                '<button type="button" class="seg" data-look="{name}" '
                'aria-pressed="{pressed}" title="{tip}"{off}>{words}{mark}</button>',
                name=name, pressed="true" if name == chosen else "false", tip=tip,
                off=when(not ready, " disabled"), words=one.title, mark=mark,
            )
        )  # fmt: skip
    return html('{}<div class="segs">{}</div>', head, joined(buttons))


def framed(heading: str, about: str, right: str = "") -> Html:
    """A look's title, how to read it, and what stands at its right."""
    aside = html('<span class="aside muted">{}</span>', right) if right else ""
    return html('<div class="lookhead">{}{}</div>', title(heading, about), aside)


def again(task: Task) -> Html:
    """How long it took, and a link that measures it anew; with which settings, of a stored one."""
    if task.kept:
        return html(
            'Opened from Runs · <button type="button" class="link" data-do="again">measure again '
            "with the settings above</button>"
        )
    return html(
        '{} · <button type="button" class="link" data-do="again">measure again</button>',
        seconds(task.seconds),
    )


def ended(task: Task) -> Html:
    """What to know of how it ended, if anything."""
    if task.state == "failed":
        return note(task.error, "fail")
    if task.state == "stopped":
        return note("Stopped early: what is here was measured by then.", "warn")
    return html("")


def progress_line(task: Task, stoppable: bool = True) -> Html:
    """What a task does now, how far it is, and a link that stops it, if no button does."""
    doing, share, left = task.progress()
    if task.state == "waiting":
        line = "Waits for the measurement before it."
    elif task.stopping:
        line = "Stopping after the question in flight…"
    elif task.held:
        line = "Waits while the models are used for something else."
    else:
        guess = f" · {about(left)} left" if left is not None else ""
        line = f"{doing or 'Getting ready'}{guess}"
    done = bar(share if task.state == "running" and share else None)
    stop = "" if task.stopping or not stoppable else html(
        '<button type="button" class="link" data-do="stop">stop, keep what is measured</button>'
    )  # fmt: skip
    return html('<p class="note" role="status">{} {} {}</p>', done, line, stop)
