"""The three panes: model and prompt text, verdicts as badges, evidence marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dapa.core.html import Html, html, joined, when
from dapa.core.records import EMPTY, Label, Mask
from dapa.ui.parts import THIN, badge, bar, begun_words, layered, seen, titled, told_of, two
from dapa.workbench import PANES, FirstToken, Pane, Round, Talk, first_apart, ruled
from dapa.workbench import titled as judge_titled
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

_LONG = 400
"""Characters of a request that is read whole."""


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


def draw(talk: Talk, view: View, hint: str = "") -> Html:
    """All three panes as HTML.

    Args:
        talk: The conversation so far.
        view: How this browser looks at it.
        hint: A remark above the panes, as HTML: the models never met the prompt's words.
    """
    shown = talk.rounds[-_SHOWN:]
    order = view.order or PANES
    panes = joined(
        _pane(name, "ABC"[place] if view.order else "", shown, view)
        for place, name in enumerate(order)
    )
    last = talk.last
    read = vote = lead = ""
    if len(talk.rounds) > _SHOWN:
        lead = html(
            '<p class="note">{} earlier turns are kept but not drawn; an export has them.</p>',
            len(talk.rounds) - _SHOWN,
        )
    if last is not None and last.rendered:
        read = html(
            '<details class="read"><summary>What the models read</summary>'
            '<pre dir="auto">{}</pre></details>',
            last.rendered,
        )
    if view.order and last is not None and last.panes and all(p.ending for p in last.panes):
        choices = [*(("ABC"[i], f"Pane {'ABC'[i]}") for i in range(len(order))), ("none", "None")]
        buttons = joined(
            html('<button class="vote" data-vote="{}">{}</button>', key, word)
            for key, word in choices
        )
        vote = html('<p class="votes"><b>Which reply is best?</b> {}</p>', buttons)
    asked = f"{len(talk.rounds)} {talk.prompt[:80]}"
    blurred = "blurred" if view.blur else ""
    strange = "outside" if hint else ""
    made = last.mask.key if last is not None else ""  # what the patched reply was made with
    return html(
        '{hint}{lead}<div class="panes {blurred} {strange}" data-ask="{asked}" data-mask="{made}">'
        "{panes}</div>{vote}{read}",
        hint=hint, lead=lead, blurred=blurred, strange=strange, asked=asked, made=made, panes=panes,
        vote=vote, read=read,
    )  # fmt: skip


def _pane(name: str, letter: str, rounds: tuple[Round, ...], view: View) -> Html:
    head, line = _title(name, letter, rounds, view)
    last = rounds[-1] if rounds else None
    pane = last.pane(name) if last is not None else None
    if last is None or pane is None:
        off = name == "teacher" and not view.whole
        body = html('<div class="hint">{}</div>', _OFF if off else _WAITING[name])
        return html('<article class="pane {}">{}{}</article>', name, _head(head, line, ""), body)
    ruling = ruled(pane, last.prompt, view.rulings or {})
    label = str(ruling or (pane.verdict.label if pane.verdict else ""))
    harmless = view.harmless(last.prompt)
    if letter:  # neither word nor shape nor order may give the pane away, nor what is blurred
        earlier = _past(_earlier(one, name, True) for one in rounds[:-1])
        return html(
            '<article class="pane blind {letter} veil">{head}{earlier}'
            "{asked}{reply}"
            '<p class="reveal">{show}</p></article>',
            letter=letter, head=_head(head, line, ""), earlier=earlier, asked=_asked(last.prompt),
            reply=_reply(pane.text, pane, f"pane {letter}"), show=_show(letter),
        )  # fmt: skip
    earlier = _past(_earlier(one, name, not view.harmless(one.prompt)) for one in rounds[:-1])
    mark = _badge(name, label, pane, ruling, harmless) if label else ""
    label = seen(label, harmless)
    veil = "" if harmless or label == Label.REFUSAL else " veil"
    if not label and not pane.ending:
        mark = html('<span class="badge waiting">writing…</span>')
    student = last.pane("student")
    of = last.mask
    spoke = when(name == "patched", ' data-of="{}" data-older="{}"', of.key, told_of(of))
    return html(
        '<article class="pane {name} {label}{veil}"{spoke}>'
        "{head}{first}{earlier}{asked}{reply}{foot}</article>",
        name=name, label=label, veil=veil, spoke=spoke,
        head=_head(head, line, mark), first=_first(pane.first), earlier=earlier,
        asked=_asked(last.prompt),
        reply=_reply(_words(pane, student, view.words, harmless), pane, name),
        foot=_foot(name, pane, student, ruling),
    )  # fmt: skip


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


def _head(head: str, line: str, mark: str) -> Html:
    return html("<header><div><h2>{}</h2><p>{}</p></div>{}</header>", head, line, mark)


def _asked(prompt: str) -> Html:
    """The request; a long one scrolls in its place, since it stands in every pane."""
    long = when(
        len(prompt) > _LONG or prompt.count("\n") > 8,
        ' tabindex="0" role="group" aria-label="The request"',
    )
    return html('<div class="asked" dir="auto"{}>{}</div>', long, prompt)


def _past(turns: Iterable[Html]) -> Html:
    """The turns that are over, in a room of their own that scrolls: the newest stays in sight."""
    told = joined(turns)
    return when(
        told,
        '<div class="past" role="group" aria-label="Earlier turns" tabindex="0">'
        "<div>{}</div></div>",
        told,
    )


def _earlier(one: Round, name: str, harmful: bool) -> Html:
    """A turn that is over: the request, and the reply without its marks."""
    pane = one.pane(name)
    text = pane.text if pane is not None else ""
    refused = pane is not None and pane.verdict is not None and pane.verdict.label == Label.REFUSAL
    veil = " veil" if harmful and not refused else ""
    return html(
        '<div class="earlier{}">{}'
        '<div class="reply" dir="auto">{}<span class="text">{}</span></div></div>',
        veil, _asked(one.prompt), begun_words(pane.begun if pane else ""), text,
    )  # fmt: skip


def _reply(words: str, pane: Pane, whose: str) -> Html:
    caret = "" if pane.ending else html('<span class="caret-end"></span>')
    empty = html('<span class="muted">(no text)</span>') if pane.ending and not pane.text else ""
    return html(
        '<div class="reply" role="log" aria-live="polite" aria-label="{whose}\'s reply" '
        'dir="auto">{begun}<span class="text">{words}</span>{empty}{caret}</div>',
        whose=whose, begun=begun_words(pane.begun), words=words, empty=empty, caret=caret,
    )  # fmt: skip


def _words(pane: Pane, student: Pane | None, every: bool, harmless: bool) -> Html:
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


def _badge(name: str, label: str, pane: Pane, ruling: Label | None, harmless: bool) -> Html:
    """The verdict; pressing it opens the four words that overrule it."""
    judge = judge_titled(pane.verdict.judge) if pane.verdict else ""
    who = "ruled by you" if ruling else f"judged by {judge}"
    how = html(' <span class="manner">{}</span>', pane.verdict.how) if pane.verdict else ""
    choices = joined(
        html(
            '<button class="link" data-rule="{}" data-label="{}">{}{}</button>',
            name, choice, badge(choice), " ✓" if str(choice) == label else "",
        )
        for choice in Label
    )  # fmt: skip
    back = when(
        ruling,
        '<button class="link" data-rule="{}" data-label="">Take the ruling back</button>',
        name,
    )
    return html(
        '<details class="ruling"><summary title="{who}; press to overrule">'
        "{badge}{how}</summary>"
        '<div class="menu"><p>{who}. What is it?</p>{choices}{back}</div></details>',
        who=who, badge=badge(label, harmless), how=html("<sup>you</sup>") if ruling else how,
        choices=choices, back=back,
    )  # fmt: skip


def _first(first: FirstToken | None) -> Html:
    """The refusal probability at the first position as a bar; the top ten on request."""
    if first is None:
        return html("")
    share = first.refusal
    rows = joined(
        html("<li><code>{}</code><span>{:.3f}</span></li>", _visible(text), probability)
        for _, text, probability in first.top
    )
    return html(
        '<details class="first"><summary title="Share of the first token that opens a refusal; '
        'press for the likeliest tokens">P(refusal) at the first token '
        "<b>{}</b> {}</summary><ol>{}</ol></details>",
        two(share), bar(share), rows,
    )  # fmt: skip


def _visible(text: str) -> str:
    """A token as it can be seen: its spaces and line ends as signs."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _foot(name: str, pane: Pane, student: Pane | None, ruling: Label | None) -> Html:
    apart = first_apart(pane, student) if student is not None and student is not pane else None
    foot = [
        f"{pane.rate:.0f}{THIN}tok/s",
        f"{pane.tokens} tokens",
        f"seed {pane.seed}",
        "stopped" if pane.ending == "stopped" else f"cut at {pane.cut}" if pane.cut else "",
        f"parts from the student at token {apart[0]}" if apart is not None else "",
        pane.verdict.reason if pane.verdict and not ruling else "",  # the overruled judge's
    ]
    return html(
        "<footer>{}{}</footer>",
        joined(html("<span>{}</span>", part) for part in foot if part),
        _show(name),
    )


def _show(name: str) -> Html:
    """What takes the blur from one pane."""
    return html('<button class="link show" data-show="{}">Show the reply</button>', name)
