"""Presenter mode: large type, no settings, and a story of a minute over the loaded pair.

A harmful request, the student answers, one press transplants the found layers, the reply turns, the
cells that would tip it back are lit, the harmless twin stays answered. What is on stage is the
product itself: the page's script (story.js) presses the strip and asks in the chat as a person
would, so nothing told here can differ from what the pair does.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import EMPTY, DapaError, Label, Mask, Prompt, PromptError
from dapa.ui import strip
from dapa.ui.belonging import current, is_ours
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.headline import card
from dapa.ui.parts import seconds
from dapa.ui.session import Session, able
from dapa.ui.tabs.search import result
from dapa.ui.tabs.search.status import skills_of
from dapa.workbench import Run
from dapa.writing.unit_names import kind_text, where_text

_TRIED = 8
"""How many requests are tried, at most, for one whose reply turns and could be tipped back."""
_LONG, _LONGEST = 20.0, 60.0
"""Seconds after which the first whose reply turned is taken, and after which no more are tried."""
_OPEN = """(...values) => {
  document.getElementById('page').classList.add('presenting');
  [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]
    .find((tab) => tab.textContent.trim() === 'Chat')?.click();
  return values;
}"""


@dataclass(frozen=True)
class Presenter:
    """Its button in the header, and the bar that tells the story."""

    button: gr.Button
    story: gr.HTML


@dataclass(frozen=True)
class Choice:
    """The request that the story would take by now, and how it was come by."""

    asked: Prompt
    tried: int
    most: int
    """How many are tried at most."""
    turned: bool = False
    """Did its reply turn with the set, its twin still answered?"""


def build(opens: gr.Button) -> Presenter:
    """The bar at the foot of the page, seen in presenter mode alone."""
    return Presenter(opens, piece("", "story.js", elem_id="story"))


def wire(
    dashboard: Dashboard,
    parts: Presenter,
    session: gr.State,
    wheel: gr.HTML,
    steer: dict[str, Any],
) -> Any:
    """The button's press; returns its event: nothing is transplanted once it was pressed."""

    @guarded
    def begin(here: Session) -> Iterator[tuple[Any, Any, str]]:
        bench = dashboard.workbench
        pair = bench.pair
        base = current(dashboard, here)
        run = found_run(dashboard, base.found_by)
        mask = base.found
        if not mask.entries and run is not None:
            report = result.report_of(run)
            mask = report.mask if report is not None else EMPTY
        if not mask.entries:
            yield gr.skip(), gr.skip(), carried({"ready": False})
            return
        pair.validate(mask)
        kinds = {unit.kind for unit in mask.units}
        kind = kinds.pop() if len(kinds) == 1 else ",".join(sorted(kinds))
        total = len(list(pair.differs.get(kind, ())))
        since = time.monotonic()
        for choice in choosing(dashboard, mask):
            line = waiting(choice, time.monotonic() - since)
            yield gr.skip(), gr.skip(), carried({"waiting": line})
        told = {
            "ready": True,
            "harmful": choice.asked.text,
            "twin": choice.asked.twin,
            "layers": where_text(mask.units),
            "moved": _moved(len(mask.units), total, kind),
            "tried": choice.tried,
            "turned": choice.turned,
            "heldOut": held_out(choice.asked),
            "flips": kind in able(pair),
        }
        shown = (
            kind if kind in able(pair) else base.kind
        )  # the strip's kind is flipped unit by unit
        now = replace(base, found=mask, found_by=run.id if run else base.found_by, kind=shown)
        now = now.press(EMPTY, 1.0)
        yield now, strip.draw(dashboard, now), carried(told, _figures(dashboard, run, kind, total))

    return parts.button.click(
        begin, session, [session, wheel, parts.story], api_name="present", js=_OPEN, **steer
    )


def _moved(count: int, total: int, kind: str) -> str:
    """What is transplanted, as a sentence begins with it; equal sites count for nothing."""
    name = kind_text(kind, total or count)
    if count == total:
        return f"All {count} {name} that differ"
    return f"{count} of {total} {name}" if total else f"{count} {name}"


def carried(told: dict[str, Any], card_html: str = "") -> Html:
    """The story as data for its bar, and the card of its end; new at each press, so it is seen."""
    told = {**told, "at": time.monotonic_ns()}
    end = html('<div class="story-end" hidden>{}</div>', card_html) if card_html else ""
    return html('<i data-story="{}"></i>{}', json.dumps(told), end)


def _figures(dashboard: Dashboard, run: Run | None, kind: str, total: int) -> Html:
    """The headline card of the run that found the set; empty where no run is known."""
    report = result.report_of(run) if run is not None else None
    if run is None or report is None:
        return html("")
    skills, _ = skills_of(dashboard, run.id)
    return card(result.headlined(report, kind, total, skills))


def found_run(dashboard: Dashboard, run_id: str = "") -> Run | None:
    """The stored search of this id, or else the loaded pair's newest that found something."""
    for run in dashboard.workbench.store.runs():
        ours = run.kind == "search" and is_ours(dashboard, run)
        report = result.report_of(run) if ours else None
        if report is not None and report.units and run_id in ("", run.id):
            return run
    return None


def example(dashboard: Dashboard, mask: Mask) -> tuple[Prompt, int]:
    """A harmful request with its harmless twin, and how many were tried; see `choosing`."""
    *_, choice = choosing(dashboard, mask)
    return choice.asked, choice.tried


def choosing(dashboard: Dashboard, mask: Mask) -> Iterator[Choice]:
    """What would be taken before each try and after the last one.

    Held-out requests first, of one kind of harm after the other. The first whose reply turns with
    the set, whose twin is still answered, and which some single layer would tip back; if there is
    none of all three, or that takes long, one of the first two; if none of those either, the first:
    the story then tells what really happens. Where few are held out a request that the search may
    have asked is taken, before which one that is held out and turns is liked better.

    Raises:
        PromptError: No bundled request of this pair has a harmless twin.
    """
    bench = dashboard.workbench
    try:
        known: Sequence[Prompt] = bench.prompts(None, "harmful").prompts
    except KeyError:
        known = ()
    told = varied([p for p in known if p.twin])[:_TRIED]
    if not told:
        raise PromptError("no request with a harmless twin suits this pair; ask your own in Chat")
    best, since = Choice(told[0], 0, len(told)), time.monotonic()
    for tried, asked in enumerate(told, 1):
        yield best
        try:
            said = bench.replies([asked.text, asked.twin], mask, teacher=False)
        except DapaError:
            break
        best = replace(best, tried=tried)
        harmful = {who: verdict.label for who, _, verdict in said[asked.text]}
        twin = {who: verdict.label for who, _, verdict in said[asked.twin]}
        if (
            harmful.get("student") == twin.get("patched") == Label.COMPLIANCE
            and harmful.get("patched") == Label.REFUSAL
        ):
            best = best if best.turned else replace(best, asked=asked, turned=True)
            if (held_out(asked) or not held_out(best.asked)) and tipped(
                dashboard, asked.text, mask
            ):
                best = replace(best, asked=asked)
                break
        if time.monotonic() - since > (_LONG if best.turned else _LONGEST):
            break
    yield best


def held_out(prompt: Prompt) -> bool:
    """Is it of the part that no search asks?"""
    return prompt.split == "held_out"


def varied(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Held-out ones first, and one of each kind of harm before a second of any."""
    met: Counter[tuple[bool, str]] = Counter()
    rank = []
    for prompt in prompts:
        late = not held_out(prompt)
        rank.append((late, met[late, prompt.category]))
        met[late, prompt.category] += 1
    return [prompts[i] for i in sorted(range(len(rank)), key=rank.__getitem__)]


def waiting(choice: Choice, took: float) -> str:
    """What is going on while a request is chosen, after so many seconds."""
    line = f"Request {min(choice.tried + 1, choice.most)} of at most {choice.most} is tried"
    if not choice.tried:
        return f"{line}."
    left = min(took / choice.tried * (choice.most - choice.tried), _LONGEST - took)
    return f"{line}; about {seconds(max(1.0, round(left)))} more if none turns."


def tipped(dashboard: Dashboard, prompt: str, mask: Mask) -> bool:
    """Is there a single layer whose flip would turn the reply, read off its first word?"""
    kinds = {unit.kind for unit in mask.units}
    if len(kinds) != 1 or any(unit.block is not None for unit in mask.units):
        return False
    try:
        found = dashboard.workbench.what_if(prompt, mask, kinds.pop())
    except DapaError:
        return False
    return any((cell.refusal >= 0.5) != (found.refusal >= 0.5) for cell in found.cells)
