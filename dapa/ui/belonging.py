"""What is on screen belongs to a pair; what is another pair's stands greyed and says whose it is.

A card of another pair carries `whose`: a line with that pair's name and one press that loads it.
The style sheet greys everything beside such a line, so that no card can forget to. A load by
someone else is announced in every open page.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.owner import Owner
from dapa.core.records import DapaError, Mask, PairError, SettingError
from dapa.ui import strip
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import exactly
from dapa.ui.session import Session, fresh
from dapa.workbench import PairSpec, Run, current_name, short_name


def owner_of(spec: Any) -> Owner:
    """The owner that a spec, or what was stored of one, names; old names are today's."""
    told = Owner.read(spec)
    return Owner(current_name(told.name), told.student, told.teacher) if told.name else told


def loaded(dashboard: Dashboard) -> Owner:
    """The loaded pair; unknown where there is none."""
    bench = dashboard.workbench
    return owner_of(bench.pair.spec) if bench.loaded else Owner()


def is_loaded(dashboard: Dashboard, owner: Owner) -> bool:
    """Is it the loaded pair?"""
    return owner.same(loaded(dashboard))


def is_ours(dashboard: Dashboard, run: Run) -> bool:
    """Is a stored run's pair the loaded one?

    By its names, and where it kept digests of its models by those: a folder may hold others today.
    """
    owner = owner_of(run.settings.get("pair") or {})
    return is_loaded(dashboard, owner) and dashboard.workbench.made(run)


def current(dashboard: Dashboard, here: Session) -> Session:
    """These choices, or new ones after another pair; those know the set that was found last."""
    if here.epoch == dashboard.epoch:
        return here
    bench = dashboard.workbench
    new = fresh(dashboard.epoch, bench.pair)
    try:
        found = bench.newest_found()
        if found is None:
            return new
        bench.pair.validate(Mask.of(found[1]))
    except DapaError:  # a store that cannot be read, or of a version that knew other units
        return new
    return replace(new, found=Mask.of(found[1]), found_by=found[0])


def title_of(owner: Owner) -> str:
    """A pair for people."""
    models = f"{short_name(owner.student)} ← {short_name(owner.teacher)}"
    return owner.name or (models if owner else "another pair")


def load_link(owner: Owner, words: str = "") -> Html:
    """The press that loads a pair; nothing for one that is not known."""
    if not owner:
        return html("")
    words = words or f"Load {title_of(owner)}"
    packed = json.dumps(owner.as_dict())
    return html('<button type="button" class="link load" data-load="{}">{}</button>', packed, words)


def whose(dashboard: Dashboard, owner: Owner, what: str, ours: bool | None = None) -> Html:
    """Above what another pair made: whose it is, and the press that loads it; empty for ours.

    Args:
        dashboard: Who knows what is loaded.
        owner: Whose it is.
        what: What stands there, our own words, as in `This result`.
        ours: Is it the loaded pair's? By the owner's names where nobody knows better.
    """
    here = loaded(dashboard)
    if not owner or (owner.same(here) if ours is None else ours):
        return html("")
    if owner.same(here):
        return html(
            '<p class="note whose" role="status">{} is of <b>{}</b> as it was: its models or their '
            "precision are others now.</p>",
            what, title_of(owner),
        )  # fmt: skip
    now = f"{title_of(here)} is loaded now" if here else "no pair is loaded"
    return html(
        '<p class="note whose" role="status">{} is of <b>{}</b>; {}. {}</p>',
        what, title_of(owner), now, load_link(owner),
    )  # fmt: skip


def under(dashboard: Dashboard, owner: Owner, mask: Mask, now: Mask) -> Html:
    """Above what was measured under another mask than the strip's; empty where they agree.

    Args:
        dashboard: Who knows what is loaded.
        owner: Whose it is; of another pair `whose` speaks.
        mask: What was transplanted then.
        now: What the strip transplants now.
    """
    if mask == now or not is_loaded(dashboard, owner):
        return html("")
    packed = json.dumps({**owner.as_dict(), "mask": mask.key})
    return html(
        '<p class="note under" role="status">Measured with <b>{then}</b>; the strip says '
        '{now} now. <button type="button" class="link" data-load="{packed}">Put '
        "{then} on the strip</button></p>",
        then=exactly(mask), now=exactly(now), packed=packed,
    )  # fmt: skip


def announced(dashboard: Dashboard, before: Owner, who: str) -> Html:
    """What a page is told when another pair has taken the place of `before`.

    Args:
        dashboard: Who loaded it.
        before: What this page showed; unknown where it has only just opened.
        who: This browser tab, by its session hash.
    """
    if not before:
        return html("")
    now = title_of(loaded(dashboard))
    mine = bool(who) and dashboard.loaded_by == who
    did = "You loaded" if mine else "Someone else loaded"
    back = "" if mine or is_loaded(dashboard, before) else load_link(before, "Load it again")
    rest = html("What was made with {} is greyed or gone. {}", title_of(before), back)
    return html(
        '<p class="note news" role="alert"><span>{} <b>{}</b>: the strip is empty '
        'again. {}</span><button type="button" class="link" data-dismiss>Close</button></p>',
        did, now, rest,
    )  # fmt: skip


def build() -> tuple[gr.HTML, gr.HTML]:
    """Where news of another pair stands, and what hears every press that loads one."""
    return piece("", elem_id="news"), piece(
        "", "belong.js", elem_id="belong", elem_classes="carrier"
    )


def wire(
    dashboard: Dashboard, ear: gr.HTML, news: gr.HTML, session: gr.State, wheel: gr.HTML, steer: Any
) -> Any:
    """One press on `whose` loads the pair it names, one on `under` presses the layers it names.

    Returns:
        The event after which the strip may hold another mask.
    """

    @guarded
    def put(here: Session, event: gr.EventData) -> tuple[Any, Any]:
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        if "mask" not in data:
            raise SettingError("no layers were named; press a table's own line")
        if not is_loaded(dashboard, Owner.read(data)):
            raise PairError("these layers are of another pair; load it first")
        pair, mask = dashboard.workbench.pair, Mask.parse(text(data["mask"], "the mask"))
        pair.validate(mask)
        base = current(dashboard, here)
        strengths = {strength for _, strength in mask.entries}
        one = len(strengths) == 1  # units of several strengths keep their own
        now = base.press(Mask.of(mask.units) if one else mask, strengths.pop() if one else 1.0)
        return now, strip.draw(dashboard, now)

    @guarded
    def load(request: gr.Request, event: gr.EventData) -> Html:
        data = getattr(event, "_data", None)
        wanted = Owner.read(data if isinstance(data, dict) else {})
        spec = spec_of(dashboard, wanted)
        dashboard.load(spec, who_of(request))
        return html(
            '<p class="note news" role="status">Loading <b>{}</b>; what is '
            "on screen stays until it is whole.</p>",
            title_of(wanted),
        )

    ear.select(load, None, news, api_name="load_owner", show_progress="hidden")
    return ear.like(put, session, [session, wheel], api_name="put_layers", **steer)


def spec_of(dashboard: Dashboard, owner: Owner) -> PairSpec:
    """What to load for it; PairError where nobody knows, or it has no such name."""
    if not owner:
        raise PairError("no pair was named; choose one under Change pair")
    for value in (owner.name, owner.student, owner.teacher):
        text(value, "the pair", 1000)
    if owner.name:
        return dashboard.workbench.spec(owner.name)
    return dashboard.workbench.spec(None, owner.student, owner.teacher)


def who_of(request: gr.Request | None) -> str:
    """A browser tab, by its session hash."""
    return str(getattr(request, "session_hash", "") or "")
