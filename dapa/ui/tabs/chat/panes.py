"""The three panes: model and prompt text escaped, verdicts as badges, evidence marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dapa.core.records import EMPTY, Label, Mask
from dapa.ui.parts import THIN, badge, bar, esc, layered, seen, titled, told_of, two
from dapa.workbench import PANES, FirstToken, Pane, Round, Talk, first_apart, ruled
from dapa.writing.worddiff import changed_words

_WAITING = {
    "student": "Its own weights, untouched: usually it complies.",
    "patched": "The student with the strip's layers from the teacher.",
    "teacher": "The aligned model: usually it refuses.",
}
_OFF = (
    "Off: in lean memory only some of its sites are loaded. Load the pair with full memory to ask "
    "it."
)
_SHOWN = 12
"""Rounds drawn at most: a long conversation is kept whole, but the page is not."""


@dataclass(frozen=True)
class View:
    """How the panes are shown to one browser."""

    mask: Mask = EMPTY
    """What the strip transplants now."""
    blur: bool = False
    words: bool = False
    """Mark every word that the student did not say."""
    order: tuple[str, ...] = ()
    """A blind comparison's panes in the order in which they stand, unnamed; empty where named."""
    rulings: Mapping[str, Mapping[str, Any]] | None = None
    whole: bool = True
    """Is the teacher whole in memory? Else its pane says that it is off."""
    harmless: Callable[[str], bool] = lambda prompt: False
    """Is this request known to be harmless? Its replies need no blur."""


def draw(talk: Talk, view: View, hint: str = "") -> str:
    """All three panes as HTML.

    Args:
        talk: The conversation so far.
        view: How this browser looks at it.
        hint: A remark above the panes, as HTML: the models never met the prompt's words.
    """
    shown = talk.rounds[-_SHOWN:]
    order = view.order or PANES
    panes = "".join(
        _pane(name, "ABC"[place] if view.order else "", shown, view)
        for place, name in enumerate(order)
    )
    last = talk.last
    read = vote = lead = ""
    if len(talk.rounds) > _SHOWN:
        lead = (
            f'<p class="note">{len(talk.rounds) - _SHOWN} earlier turns are kept but not drawn; an '
            "export has them.</p>"
        )
    if last is not None and last.rendered:
        read = (
            '<details class="read"><summary>What the models read</summary>'
            f'<pre dir="auto">{esc(last.rendered)}</pre></details>'
        )
    if view.order and last is not None and last.panes and all(p.ending for p in last.panes):
        choices = [*(("ABC"[i], f"Pane {'ABC'[i]}") for i in range(len(order))), ("none", "None")]
        buttons = "".join(
            f'<button class="vote" data-vote="{key}">{word}</button>' for key, word in choices
        )
        vote = f'<p class="votes"><b>Which reply is best?</b> {buttons}</p>'
    asked = esc(f"{len(talk.rounds)} {talk.prompt[:80]}")
    blurred = "blurred" if view.blur else ""
    strange = "outside" if hint else ""
    made = esc(last.mask.key) if last is not None else ""  # what the patched reply was made with
    return (
        f'{hint}{lead}<div class="panes {blurred} {strange}" data-ask="{asked}" data-mask="{made}">'
        f"{panes}</div>{vote}{read}"
    )


def _pane(name: str, letter: str, rounds: tuple[Round, ...], view: View) -> str:
    head, line = _title(name, letter, rounds, view)
    last = rounds[-1] if rounds else None
    pane = last.pane(name) if last is not None else None
    if last is None or pane is None:
        off = name == "teacher" and not view.whole
        body = f'<div class="hint">{_OFF if off else _WAITING[name]}</div>'
        return f'<article class="pane {name}">{_head(head, line, "")}{body}</article>'
    ruling = ruled(pane, last.prompt, view.rulings or {})
    label = str(ruling or (pane.verdict.label if pane.verdict else ""))
    harmless = view.harmless(last.prompt)
    if letter:  # neither word nor shape nor order may give the pane away, nor what is blurred
        earlier = "".join(_earlier(one, name, True) for one in rounds[:-1])
        return (
            f'<article class="pane blind {letter} veil">{_head(head, line, "")}{earlier}'
            f"{_asked(last.prompt)}{_reply(esc(pane.text), pane, f'pane {letter}')}"
            f'<p class="reveal">{_show(letter)}</p></article>'
        )
    earlier = "".join(_earlier(one, name, not view.harmless(one.prompt)) for one in rounds[:-1])
    mark = _badge(name, label, pane, ruling, harmless) if label else ""
    label = seen(label, harmless)
    veil = "" if harmless or label == Label.REFUSAL else " veil"
    if not label and not pane.ending:
        mark = '<span class="badge waiting">writing…</span>'
    student = last.pane("student")
    of = last.mask
    spoke = f' data-of="{of.key}" data-older="{told_of(of)}"'
    return (
        f'<article class="pane {name} {label}{veil}"{spoke if name == "patched" else ""}>'
        f"{_head(head, line, mark)}{_first(pane.first)}{earlier}{_asked(last.prompt)}"
        f"{_reply(_words(pane, student, view.words, harmless), pane, f'{name}')}"
        f"{_foot(name, pane, student)}</article>"
    )


def _title(name: str, letter: str, rounds: tuple[Round, ...], view: View) -> tuple[str, str]:
    if letter:
        return f"Pane {letter}", "named once you have voted"
    if name != "patched":
        return name.capitalize(), "untouched" if name == "student" else "gives its layers"
    mask = view.mask
    head, line = titled(mask)
    if rounds and rounds[-1].mask != mask:
        line += f" · its reply is older, of {told_of(rounds[-1].mask)}"
    return head, line


def _head(head: str, line: str, mark: str) -> str:
    return f"<header><div><h2>{head}</h2><p>{line}</p></div>{mark}</header>"


def _asked(prompt: str) -> str:
    return f'<div class="asked" dir="auto">{esc(prompt)}</div>'


def _earlier(one: Round, name: str, harmful: bool) -> str:
    """A turn that is over: the request, and the reply without its marks."""
    pane = one.pane(name)
    text = pane.text if pane is not None else ""
    refused = pane is not None and pane.verdict is not None and pane.verdict.label == Label.REFUSAL
    veil = " veil" if harmful and not refused else ""
    return (
        f'<div class="earlier{veil}">{_asked(one.prompt)}'
        f'<div class="reply" dir="auto"><span class="text">{esc(text)}</span></div></div>'
    )


def _reply(words: str, pane: Pane, whose: str) -> str:
    caret = "" if pane.ending else '<span class="caret-end"></span>'
    empty = '<span class="muted">(no text)</span>' if pane.ending and not pane.text else ""
    return (
        f'<div class="reply" role="log" aria-live="polite" aria-label="{whose}\'s reply" '
        f'dir="auto"><span class="text">{words}</span>{empty}{caret}</div>'
    )


def _words(pane: Pane, student: Pane | None, every: bool, harmless: bool) -> str:
    """The reply with its marks: evidence, first token apart, words that the student did not say."""
    spans = []
    if pane.verdict is not None and pane.verdict.span is not None:
        spans.append((*pane.verdict.span, f"evidence {seen(pane.verdict.label, harmless)}"))
    if student is not None and student is not pane:
        if every and pane.ending and student.ending:
            spans += [(*span, "changed") for span in changed_words(pane.text, student.text)]
        apart = first_apart(pane, student)
        if apart is not None:
            spans.append((*apart[1], "apart"))
    return layered(pane.text, spans)


def _badge(name: str, label: str, pane: Pane, ruling: Label | None, harmless: bool) -> str:
    """The verdict; pressing it opens the four words that overrule it."""
    judge = pane.verdict.judge if pane.verdict else ""
    who = "ruled by you" if ruling else f"judged by {esc(judge)}"
    how = f' <span class="manner">{esc(pane.verdict.how)}</span>' if pane.verdict else ""
    choices = "".join(
        f'<button class="link" data-rule="{name}" data-label="{choice}">'
        f"{badge(choice)}{' ✓' if str(choice) == label else ''}</button>"
        for choice in Label
    )
    back = '<button class="link" data-rule="{}" data-label="">Take the ruling back</button>'
    return (
        f'<details class="ruling"><summary title="{who}; press to overrule">'
        f"{badge(label, harmless)}{'<sup>you</sup>' if ruling else how}</summary>"
        f'<div class="menu"><p>{who}. What is it?</p>{choices}'
        f"{back.format(name) if ruling else ''}</div></details>"
    )


def _first(first: FirstToken | None) -> str:
    """The refusal probability at the first position as a bar; the top ten on request."""
    if first is None:
        return ""
    share = first.refusal
    rows = "".join(
        f"<li><code>{esc(_visible(text))}</code><span>{probability:.3f}</span></li>"
        for _, text, probability in first.top
    )
    return (
        '<details class="first"><summary title="Share of the first token that opens a refusal; '
        'press for the likeliest tokens">P(refusal) at the first token '
        f"<b>{two(share)}</b> {bar(share)}"
        f"</summary><ol>{rows}</ol></details>"
    )


def _visible(text: str) -> str:
    """A token as it can be seen: its spaces and line ends as signs."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _foot(name: str, pane: Pane, student: Pane | None) -> str:
    apart = first_apart(pane, student) if student is not None and student is not pane else None
    foot = [
        f"{pane.rate:.0f}{THIN}tok/s",
        f"{pane.tokens} tokens",
        f"seed {pane.seed}",
        "stopped" if pane.ending == "stopped" else f"cut at {esc(pane.cut)}" if pane.cut else "",
        f"first token apart: {apart[0]}" if apart is not None else "",
        esc(pane.verdict.reason) if pane.verdict else "",
    ]
    return (
        f"<footer>{''.join(f'<span>{part}</span>' for part in foot if part)}{_show(name)}</footer>"
    )


def _show(name: str) -> str:
    """What takes the blur from one pane."""
    return f'<button class="link show" data-show="{name}">Show the reply</button>'
