"""The three panes: model and prompt text escaped, verdicts as badges, evidence marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapa.conversation import PANES, Pane
from dapa.records import Mask
from dapa.ui.parts import THIN, badge, esc, marked, names

if TYPE_CHECKING:
    from dapa.ui.tabs.chat import Talk

_ENDINGS = {"length": "cut at the token limit", "stopped": "stopped", "settled": "settled"}
_WAITING = {
    "student": "Its own weights, untouched: usually it complies.",
    "patched": "The student with the strip's layers from the teacher.",
    "teacher": "The aligned model: usually it refuses.",
}


def draw(talk: Talk, mask: Mask, blur: bool, hint: str = "") -> str:
    """All three panes as HTML.

    Args:
        talk: The prompt and the replies so far.
        mask: What the patched pane transplants.
        blur: Hide replies until asked for.
        hint: A remark under the panes, as HTML.
    """
    by_name = {pane.name: pane for pane in talk.panes}
    panes = "".join(_pane(name, by_name.get(name), talk.prompt, mask) for name in PANES)
    ask = esc(talk.prompt[:80])
    read = ""
    if talk.rendered:
        read = (
            '<details class="read"><summary>What the models read</summary>'
            f'<pre dir="auto">{esc(talk.rendered)}</pre></details>'
        )
    blurred = "blurred" if blur else ""
    return f'<div class="panes {blurred}" data-ask="{ask}">{panes}</div>{read}{hint}'


def _pane(name: str, pane: Pane | None, prompt: str, mask: Mask) -> str:
    head, line = name.capitalize(), "untouched" if name == "student" else "gives its layers"
    if name == "patched":
        head = f"Patched · {names(mask.units)}" if mask.entries else "Patched · no layer yet"
        if len(mask.entries) > 6:
            head = f"Patched · {len(mask.entries)} units"
        line = "press layers on the strip" if not mask.entries else "from the teacher"
    label = str(pane.verdict.label) if pane is not None and pane.verdict else ""
    if pane is None:
        body = f'<div class="hint">{_WAITING[name]}</div>'
        return f'<article class="pane {name}">{_head(head, line, "")}{body}</article>'
    if label:
        mark = badge(label)
    else:
        mark = "" if pane.ending else '<span class="badge waiting">writing…</span>'
    reason = pane.verdict.reason if pane.verdict else ""
    caret = "" if pane.ending else '<span class="caret-end"></span>'
    words = marked(pane.text, pane.verdict)
    empty = '<span class="muted">(no text)</span>' if pane.ending and not pane.text else ""
    foot = [
        f"{pane.rate:.0f}{THIN}tok/s",
        f"{pane.tokens} tokens",
        f"seed {pane.seed}",
        _ENDINGS.get(pane.ending or "", ""),
        esc(reason),
    ]
    show = f'<button class="link show" data-show="{name}">Show the reply</button>'
    return (
        f'<article class="pane {name} {label}">{_head(head, line, mark)}'
        f'<div class="asked" dir="auto">{esc(prompt)}</div>'
        f'<div class="reply" role="log" aria-live="polite" aria-label="{name}\'s reply" dir="auto">'
        f'<span class="text">{words}</span>{empty}{caret}</div>'
        f"<footer>{''.join(f'<span>{part}</span>' for part in foot if part)}{show}</footer>"
        "</article>"
    )


def _head(head: str, line: str, mark: str) -> str:
    return f"<header><div><h2>{head}</h2><p>{line}</p></div>{mark}</header>"
