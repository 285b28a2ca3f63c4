"""A dashboard in this process, for tests that drive it through Chromium or through raw POSTs."""

import json
import os
import shutil
import socket
import sys
import threading
import time
import traceback
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

import dapa

CHROMIUM = os.environ.get("DAPA_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
OURS = os.path.dirname(dapa.__file__) + os.sep
KEPT: dict[tuple[Any, ...], Any] = {}
"""Browser contexts by server and options: what the page loads is fetched and compiled once."""
OPEN: list[Any] = []
"""The pages of the test that runs, each with what it asked the server."""
PATIENCE = 120_000
"""Milliseconds: a limit for what hangs, not a promise."""


@dataclass
class Served:
    """A running page, and what stands behind it."""

    url: str
    dashboard: Any
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(verify=False, trust_env=False)
    )
    """For raw calls: making one anew, certificates and all, takes longer than the call."""
    app: Any = None
    """The ASGI application, with its routes."""

    @property
    def workbench(self):
        return self.dashboard.workbench

    def functions(self) -> dict[str, dict[str, Any]]:
        """api_name -> its row in Gradio's config."""
        rows = self.client.get(f"{self.url}/config", timeout=60).json()["dependencies"]
        return {row["api_name"]: row for row in rows if row["backend_fn"]}

    def post(self, row, data, event=None, session=None, timeout=120):
        """A raw call, as anyone may send it; Gradio's closing message."""
        return self.posts(row, [(data, event)], session, timeout)[0]

    def posts(self, row, calls, session=None, timeout=120):
        """Raw calls (data, event) of one handler, all at once; the closing message of each.

        Gradio looks for news of a visitor 20 times a second, so one after the other is slow.
        """
        session = session or uuid.uuid4().hex
        told, waiting = [None] * len(calls), {}
        for i, (data, event) in enumerate(calls):
            body = {
                "data": data,
                "event_data": event,
                "fn_index": row["id"],
                "trigger_id": None,
                "session_hash": session,
            }
            sent = json.dumps(body)  # in ASCII: half a character can be sent so, and not as UTF-8
            kind = {"Content-Type": "application/json"}
            place = f"{self.url}/gradio_api/queue/join"
            joined = self.client.post(place, content=sent, headers=kind, timeout=60)
            if joined.status_code == 200:
                waiting[joined.json()["event_id"]] = i
            else:
                told[i] = {"success": False, "output": {"error": joined.text}}
        if not waiting:
            return told
        place = f"{self.url}/gradio_api/queue/data"
        sent = {"session_hash": session}
        with self.client.stream("GET", place, params=sent, timeout=timeout) as lines:
            for line in lines.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message["event_id"] in waiting:
                    told[waiting.pop(message["event_id"])] = message
                    if not waiting:
                        return told
        raise AssertionError("the stream ended without an answer")


@contextmanager
def dashboard(pair, run_dir, **options):
    """Serve `pair` on a free port until the block ends; `options` are those of `start`."""
    from dapa.ui.dashboard import Dashboard
    from dapa.ui.serve import start
    from dapa.workbench import Workbench

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    behind = Dashboard(Workbench(run_dir, pair))
    page = start(behind, "127.0.0.1", port, **options)
    try:
        yield Served(f"http://127.0.0.1:{port}", behind, app=page.app)
    finally:
        for key in [key for key in KEPT if key[0] == f"http://127.0.0.1:{port}"]:
            KEPT.pop(key).close()
        page.close(verbose=False)
        for job in behind.workbench.jobs():
            job.control.stop()
        until(lambda: not still_working(), PATIENCE / 1000)


def still_working():
    """Threads but this one that are inside our code: a handler goes on when its page is gone.

    Left alone, such a thread is torn out of torch as the interpreter ends, which aborts it and
    turns a green run red.
    """
    return [
        thread
        for thread, frame in sys._current_frames().items()
        if thread != threading.get_ident()
        and any(f.f_code.co_filename.startswith(OURS) for f, _ in traceback.walk_stack(frame))
    ]


@contextmanager
def visitors(board, chromium):
    """Hands out visits to `board`; in the end no console error and no request elsewhere.

    A visit finds nothing that an earlier test left in the browser but its cache.
    """
    used, pages, complaints = set(), [], []
    OPEN.clear()

    def outside(request):
        if not request.url.startswith((board.url, "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    def enter(guide=False, query="", wait="#strip [role=gridcell]", **options):
        key = (board.url, guide, *sorted((name, str(value)) for name, value in options.items()))
        if key not in KEPT:
            size = {"viewport": {"width": 1280, "height": 860}}
            KEPT[key] = chromium.new_context(**{**size, **options})
            KEPT[key].set_default_timeout(PATIENCE)
            if not guide:
                KEPT[key].add_init_script("localStorage.setItem('dapa-guide', 'closed')")
        context = KEPT[key]
        used.add(key)
        page = context.new_page()
        told: list[str] = []
        pages.append(page)
        OPEN.append((page, told))
        names = {row["id"]: name for name, row in board.functions().items()}
        page.on("request", lambda asked: told.extend(_call(names, asked)))
        page.on("request", outside)
        page.on("pageerror", lambda error: complaints.append(f"threw {error}"))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.goto(board.url + query)
        page.wait_for_selector(wait)
        return page

    yield enter
    for page in pages:
        if not page.is_closed():
            page.evaluate("() => (localStorage.clear(), sessionStorage.clear())")
            page.close()
    for key in used:
        KEPT[key].clear_cookies()
    assert not complaints, complaints


def _call(names, request):
    """A press as the page sent it to the server: which handler, and its first values."""
    if "queue/join" in request.url and request.method == "POST":
        body = json.loads(request.post_data or "{}")
        data = [str(value)[:40] for value in body.get("data", [])]
        yield f"{time.strftime('%X')} {names.get(body.get('fn_index'))} {data}"


def what_was_seen():
    """For the report of a failed test: each open page's messages, and what it last asked for."""
    for page, told in OPEN:
        try:
            toasts = page.locator(".toast-body").all_inner_texts()
        except Exception as error:  # the page may be gone, which is worth knowing too
            toasts = [repr(error)]
        yield "\n".join([page.url, *(f"message: {toast}" for toast in toasts), *told[-25:]])


def until(say, seconds=PATIENCE / 1000, every=0.1):
    """Wait until `say()` is true; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = say()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"not so within {seconds} s: {say}")


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def layers_on(page):
    return page.eval_on_selector_all(
        "#strip .strip-row:first-child [aria-pressed=true]",
        "cells => cells.map((cell) => Number(cell.dataset.layer))",
    )


def press(page, *layers):
    """Toggle these layers, one when the server has counted the one before.

    A redraw between a button's going down and up would lose the press.
    """
    for layer in layers:
        wanted = sorted(set(layers_on(page)) ^ {layer})
        told = f"{len(wanted)} of 12"
        page.click(f"#strip .strip-row:first-child [data-layer='{layer}']")
        until(lambda w=wanted, t=told: layers_on(page) == w and count(page).startswith(t))


def count(page):
    return page.inner_text("#strip .count")


def ask(page, prompt):
    """Send a prompt and wait until all three have answered it."""
    page.fill("#prompt textarea", prompt)
    page.click("#send")
    page.wait_for_function(
        """(prompt) => {
          const panes = [...document.querySelectorAll('#panes .pane')];
          const said = (pane) => [...pane.querySelectorAll('.asked')].at(-1)?.textContent;
          return panes.length === 3
            && panes.every((p) => said(p) === prompt && p.querySelector('summary .badge'));
        }""",
        arg=prompt,
    )


def typed(page):
    """Let what was typed reach the page's own state, as it does long before a person goes on.

    A click waits by itself; a key or a change of focus does not.
    """
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


def steering(page, plot):
    """Where a picture that can be clicked stands, once it stays there: its drawing area's box."""
    page.wait_for_selector(f"{plot} .js-plotly-plot[data-steers]", state="attached")
    page.wait_for_selector(f"{plot} .nsewdrag", state="attached")
    page.locator(plot).scroll_into_view_if_needed()
    seen = []

    def still():
        seen.append(page.locator(f"{plot} .nsewdrag").bounding_box())
        return seen[-1] and len(seen) > 2 and seen[-1] == seen[-2] == seen[-3] and seen[-1]

    return until(still)


def click_cell(page, plot, across, down):
    """Click a picture's cell, by shares of its width and height."""
    box = steering(page, plot)
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])


def answers(page):
    """What the panes show: name -> (text, badge)."""
    return {
        name: (
            page.locator(f"#panes .pane.{name} .text").text_content(),
            page.inner_text(f"#panes .pane.{name} summary .badge").split()[-1],
        )
        for name in ("student", "patched", "teacher")
    }


def set_number(page, label, value):
    field = page.get_by_label(label, exact=True).and_(page.locator(":visible"))
    write_in(page, field, str(value))
    field.press("Tab")


def write_in(page, field, value, followed=lambda: True):
    """Write into a field of a form that was just opened, again until it stays and is followed.

    Gradio makes the fields of a closed accordion when it first opens, shows them, and a frame later
    hands each its first value once more (`render_previously_invisible_children` in its core): what
    was written by then is lost, with no event. People are slower than a frame; a script on a busy
    machine is not.
    """

    def stays():
        if field.input_value() != value:
            field.fill(value)
        else:
            field.press("Tab")  # what leaving it sets off
        typed(page)
        return field.input_value() == value and followed()

    until(stays)


def choose(page, label, option):
    """Take an option of a drop-down field."""
    page.get_by_label(label, exact=True).and_(page.locator(":visible")).click()
    page.get_by_role("option", name=option, exact=True).click()
