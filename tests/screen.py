"""A dashboard in this process, for tests that drive it through Chromium or through raw POSTs."""

import json
import os
import shutil
import socket
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

CHROMIUM = os.environ.get("DAPA_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 120_000
"""Milliseconds: a limit for what hangs, not a promise."""


@dataclass
class Dashboard:
    """A running page, and what stands behind it."""

    url: str
    desk: Any

    @property
    def workbench(self):
        return self.desk.workbench

    def functions(self) -> dict[str, dict[str, Any]]:
        """api_name -> its row in Gradio's config."""
        rows = httpx.get(f"{self.url}/config", timeout=60).json()["dependencies"]
        return {row["api_name"]: row for row in rows if row["backend_fn"]}

    def post(self, row, data, event=None, session=None, timeout=120):
        """A raw call, as anyone may send it; Gradio's closing message."""
        session = session or uuid.uuid4().hex
        body = {
            "data": data,
            "event_data": event,
            "fn_index": row["id"],
            "trigger_id": None,
            "session_hash": session,
        }
        joined = httpx.post(f"{self.url}/gradio_api/queue/join", json=body, timeout=60)
        if joined.status_code != 200:
            return {"success": False, "output": {"error": joined.text}}
        mine = joined.json()["event_id"]
        place = f"{self.url}/gradio_api/queue/data"
        with httpx.stream("GET", place, params={"session_hash": session}, timeout=timeout) as lines:
            for line in lines.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message["event_id"] == mine:
                    return message
        raise AssertionError("the stream ended without an answer")


@contextmanager
def dashboard(pair, run_dir):
    """Serve `pair` on a free port until the block ends."""
    from dapa.ui.desk import Desk
    from dapa.ui.serve import start
    from dapa.workbench import Workbench

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    desk = Desk(Workbench(run_dir, pair))
    page = start(desk, "127.0.0.1", port)
    try:
        yield Dashboard(f"http://127.0.0.1:{port}", desk)
    finally:
        page.close(verbose=False)


def until(say, seconds=60.0, every=0.1):
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
