"""Markup in any field of a file or of the store reaches the page as text.

Every text of a real record is replaced in turn by a payload that would close a tag or an
attribute; what still can be read is drawn by whoever draws it on the page.
"""

import json
import re
from dataclasses import replace

import pytest
from confided import SHAPES, report
from evaluated import table_in
from searched import planted_pair, searched

from dapa.chat.conversation import Pane
from dapa.chat.sessions import ChatSession, Round, Talk
from dapa.core.measurement import Shown, Table
from dapa.core.records import DapaError, Label, Mask, Prompt, Unit, Verdict
from dapa.store.runs import Run, Store
from dapa.ui import header
from dapa.ui.dashboard import Dashboard, Loading, plain_error
from dapa.ui.measurements import html
from dapa.ui.session import Session
from dapa.ui.tabs.chat import library
from dapa.ui.tabs.chat.links import link_query, restore
from dapa.ui.tabs.chat.panes import View, draw
from dapa.ui.tabs.runs import compare, evaluated, listing, opened
from dapa.ui.tasks import Task
from dapa.ui.watching import ended, progress_line, toolbar
from dapa.workbench import KIND, Workbench
from dapa.workbench.measurements import measurements

PAYLOAD = "zq\"onx=1 zq'onx=1 </script><zq onload=alert(1)>&zq;"
ALIVE = re.compile(r"<zq|zq\"|zq'|</script|&zq;")
REFUSED = (DapaError, LookupError, TypeError, ValueError, AttributeError)


def inert(drawn, where):
    found = ALIVE.search(str(drawn))
    assert not found, (where, str(drawn)[max(0, found.start() - 120) : found.end() + 80])


def spoiled(body, at=()):
    """(place, the same record with the payload at that place), for each text and key in it."""
    if isinstance(body, str):
        yield at, PAYLOAD
    elif isinstance(body, dict):
        for key, value in body.items():
            for place, change in spoiled(value, (*at, key)):
                yield place, {**body, key: change}
            if isinstance(key, str):
                yield (*at, f"key {key}"), {**body, PAYLOAD: value}
    elif isinstance(body, list | tuple):
        for i, value in enumerate(body[:6]):
            for place, change in spoiled(value, (*at, i)):
                yield place, [*body[:i], change, *body[i + 1 :]]
    elif body is None or (isinstance(body, int | float) and not isinstance(body, bool)):
        yield at, PAYLOAD  # what should be a number, or nothing


def fields(body):
    """The same, once for what has the same name in every item of a list."""
    seen = set()
    for place, change in spoiled(body):
        name = tuple("item" if isinstance(part, int) else part for part in place)
        if name not in seen:
            seen.add(name)
            yield place, change


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    return Dashboard(Workbench(tmp_path_factory.mktemp("runs"), planted_pair()))


# -- runs --------------------------------------------------------------------------------------


def beside(run, other, name, its):
    side = evaluated.beside if run.kind == KIND else compare.draw
    return side(run, other, name, its)


WAYS = (
    lambda board, run, other: listing.draw([run, other], other.id),
    lambda board, run, other: listing.draw([other, run], run.id),
    lambda board, run, other: opened.opened(board, run),
    lambda board, run, other: opened.below(run),
    lambda board, run, other: beside(run, other, listing.named(run), listing.named(other)),
)
"""All that the page draws of a stored run."""


@pytest.mark.parametrize(
    "share", [5, pytest.param(1, marks=pytest.mark.full)], ids=["fifth", "full"]
)
@pytest.mark.parametrize("kind", ["exact", "evaluation", *SHAPES])
def test_no_field_of_a_stored_run_is_markup(dashboard, kind, share, tmp_path, capsys):
    job = searched()
    stored = job.store.run(job.id)
    if kind == "evaluation":
        made = table_in(tmp_path)
        stored = Store(tmp_path).run(made.run)
    elif kind != "exact":
        told = report(kind).as_dict()
        stored = replace(stored, result=json.loads(json.dumps(told)))
    drawn, tried = [0] * len(WAYS), 0
    said = []
    whole = {"title": stored.title, "id": stored.id, "state": stored.state}
    whole |= {"settings": stored.settings, "result": stored.result}
    walk = spoiled if share == 1 else fields
    for place, body in list(walk(whole))[len(kind) % share :: share]:
        run = Run(body["id"], stored.created, stored.kind, body["title"], body["settings"],
                  body["state"], body["result"], stored.updated)  # fmt: skip
        tried += 1
        for number, way in enumerate(WAYS):
            try:
                made = way(dashboard, run, stored)
            except REFUSED:
                continue
            drawn[number] += 1
            if ALIVE.search(made):
                said.append((place, made[ALIVE.search(made).start() - 80 :][:120]))
    assert not said, "\n".join(map(str, said))
    assert tried > 100 / share and min(drawn) > tried / 2, (tried, drawn)
    with capsys.disabled():
        print(f"\n{tried:,} spoiled fields of a run ({kind}), drawn {sum(drawn):,} times: text")
    for state in ("failed", "running", PAYLOAD):
        failed = replace(stored, state=state, result={"error": PAYLOAD})
        inert(opened.opened(dashboard, failed), state)


# -- conversations -----------------------------------------------------------------------------


def conversation():
    spec = planted_pair().spec
    pair = {"name": spec.name, "student": spec.student, "teacher": spec.teacher}
    verdict = Verdict(Label.COMPLIANCE, "rules/2", (0, 3), "why")
    panes = tuple(
        Pane(name, "Sure, go.", 4, 0.5, "length", verdict, 7, cut="the token limit")
        for name in ("student", "patched", "teacher")
    )
    talk = Talk((Round("how?", panes), Round("and?", panes)))
    return ChatSession(pair, Mask.of([Unit(1)]).key, {"seed": 7}, talk, "20260101-000000-1")


def test_no_field_of_a_session_file_is_markup(dashboard):
    drawn = 0
    for place, body in spoiled(conversation().as_dict()):
        try:
            read = ChatSession.from_json(json.dumps(body))
        except DapaError as error:
            inert(plain_error(error).message, place)
            continue
        for view in (View(), View(words=True, blur=True), View(order=("teacher", "student"))):
            inert(draw(read.talk, view), place)
            drawn += 1
        link_query(read)
        try:
            _, strip, _, panes, *_ = restore(dashboard, Session(), read)
            inert(strip, place)
            inert(panes, place)
        except DapaError as error:
            inert(plain_error(error).message, place)
    assert drawn > 30


def test_no_field_of_a_ruling_or_a_prompt_is_markup():
    for field in ("text", "category", "split", "twin"):
        prompt = replace(Prompt("how", "fraud", "search", "twin"), **{field: PAYLOAD})
        inert(library.draw([prompt]), field)


# -- records and measurements --------------------------------------------------------------------


def test_no_text_of_a_measurement_is_markup():
    table = Table(
        (PAYLOAD, f"b\n{PAYLOAD}"), [(PAYLOAD, PAYLOAD)], PAYLOAD, PAYLOAD, kind=PAYLOAD,
        sortable=True,
    )  # fmt: skip
    told = Shown(PAYLOAD, (table, replace(table, title="")), (PAYLOAD,), (PAYLOAD,), (PAYLOAD,))
    inert(html.drawn(told), "shown")


def test_what_a_task_or_a_load_tells_is_text(dashboard):
    task = Task(PAYLOAD, PAYLOAD, lambda tell, stop: None, None)
    task.error, task.state = PAYLOAD, "failed"
    inert(ended(task), "ended")
    task.state = "running"
    task._told(PAYLOAD, 0.5)
    inert(progress_line(task), "progress")
    inert(toolbar("", {"gap": measurements["gap"]}, {"gap": task}, "gap", True), "toolbar")
    dashboard.loading, dashboard.failure = Loading(PAYLOAD, 0.5, 0.0), PAYLOAD
    try:
        inert(header.draw(dashboard), "loading")
        dashboard.loading = None
        inert(header.draw(dashboard), "failure")
    finally:
        dashboard.loading, dashboard.failure = None, ""


@pytest.mark.parametrize("kind", [DapaError, ValueError, RuntimeError])
def test_no_error_is_markup(kind):
    inert(plain_error(kind(PAYLOAD)).message, kind)
