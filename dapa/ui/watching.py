"""A task of the server as a card shows it: buttons that say how far it is, and a progress line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.ui.parts import bar, esc, note, seconds, title
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
    return (doing, round(share, 3), left and int(left), task.stopping)


def toolbar(
    head: str, titles: Mapping[str, str], tasks: Mapping[str, Task | None], chosen: str, ready: bool
) -> str:
    """The buttons under `head`; each says what came of its measurement."""
    buttons = []
    for name, words in titles.items():
        task = tasks.get(name)
        mark = f' <span aria-hidden="true">{_MARKS[task.state]}</span>' if task else ""
        told = f' title="{STATES[task.state]}"' if task else ""
        buttons.append(
            f'<button type="button" class="seg" data-look="{name}" '
            f'aria-pressed="{"true" if name == chosen else "false"}"{told}'
            f"{'' if ready else ' disabled'}>{words}{mark}</button>"
        )
    return f'{head}<div class="segs">{"".join(buttons)}</div>'


def framed(heading: str, about: str, right: str = "") -> str:
    """A look's title, how to read it, and what stands at its right."""
    aside = f'<span class="aside muted">{right}</span>' if right else ""
    return f'<div class="lookhead">{title(heading, about)}{aside}</div>'


def again(task: Task) -> str:
    """How long it took, and a link that measures it anew."""
    link = '<button type="button" class="link" data-do="again">measure again</button>'
    return f"{seconds(task.seconds)} · {link}"


def ended(task: Task) -> str:
    """What to know of how it ended, if anything."""
    if task.state == "failed":
        return note(esc(task.error), "fail")
    if task.state == "stopped":
        return note("Stopped early: what is here was measured by then.", "warn")
    return ""


def progress_line(task: Task) -> str:
    """What a task does now, how far it is, and a link that stops it."""
    doing, share, left = task.progress()
    if task.state == "waiting":
        line = "Waits for the measurement before it."
    elif task.stopping:
        line = "Stopping after the question in flight…"
    else:
        about = f" · about {seconds(left)} left" if left is not None else ""
        line = f"{esc(doing) or 'Getting ready'}{about}"
    done = bar(share if task.state == "running" and share else None)
    stop = "" if task.stopping else (
        '<button type="button" class="link" data-do="stop">stop, keep what is measured</button>'
    )  # fmt: skip
    return f'<p class="note" role="status">{done} {line} {stop}</p>'
