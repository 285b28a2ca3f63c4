"""g: the dashboard as a person meets it, in Chromium, with the files already in the disk's cache.

Asked for by `--app`, since a bare machine has neither gradio nor a browser.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from dapa.bench.row import BenchRow, absent, alone

ROOT = Path(__file__).resolve().parents[2]
WAIT = 120.0
"""Seconds after which something hangs."""
STRIP = "#strip .strip-row:first-child"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
START = "app start to usable first screen, toy pair (python app.py; strip and map are drawn)"
GOAL = "<= 10"
TOGGLE = "one toggle on the strip until it is repainted"
TOKEN = "a request in the chat until the first token shows"


def missing() -> str | None:
    """What keeps the dashboard from being driven here, if anything."""
    for name in ("gradio", "playwright"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    if not (ROOT / "app.py").exists():
        return f"there is no app.py in {ROOT}"
    if not _browser():
        return "there is no Chromium; set DAPA_CHROMIUM"
    return None


def _browser() -> str | None:
    return os.environ.get("DAPA_CHROMIUM") or shutil.which("chromium")


def rows(times: int = 5) -> Iterator[BenchRow]:
    """g, then the toggle and the first token, which have no goal of their own."""
    reason = missing()
    if reason:
        yield absent("g", START, "s", None, GOAL, reason)
        yield absent("g-toggle", TOGGLE, "s", None, None, reason)
        yield absent("g-token", TOKEN, "s", None, None, reason)
        return
    starts: list[float] = []
    toggles: list[float] = []
    tokens: list[float] = []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=_browser(), args=CHROMIUM)
        for turn in range(1 + times):  # the first one warms the disk's cache
            with _app() as (url, began):
                context = chromium.new_context(viewport={"width": 1280, "height": 860})
                context.add_init_script("localStorage.setItem('dapa-guide', 'closed')")
                context.set_default_timeout(1000 * WAIT)
                page = context.new_page()
                page.goto(url)
                page.wait_for_selector(f"{STRIP} [role=gridcell]")
                page.wait_for_selector("#heatmap .nsewdrag", state="attached")
                if turn:
                    starts.append(time.perf_counter() - began)
                    toggles.append(_toggled(page, 4))
                    tokens.append(_asked(page))
                context.close()
        chromium.close()
    yield alone("g", f"{START}; median of {times} starts", median(starts), GOAL, "s")
    yield alone("g-toggle", f"{TOGGLE}; median of {times}", median(toggles), None, "s")
    yield alone("g-token", f"{TOKEN}; median of {times}", median(tokens), None, "s")


@contextmanager
def _app() -> Iterator[tuple[str, float]]:
    """The dashboard in a process of its own; its address once it answers, and when it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--run-dir", folder]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _until(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, f"app.py ended with {process.returncode}"
            yield f"http://127.0.0.1:{port}", began
        finally:
            process.terminate()
            process.wait(WAIT)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(say: Callable[[], bool]) -> None:
    end = time.perf_counter() + WAIT
    while not say():
        assert time.perf_counter() < end, f"nothing happened within {WAIT:g} s"
        time.sleep(0.01)


def _toggled(page: Any, layer: int) -> float:
    """Seconds from a click on a layer until the count beside the strip says so."""
    before = page.inner_text("#strip .count")
    start = time.perf_counter()
    page.click(f"{STRIP} [data-layer='{layer}']")
    page.wait_for_function(
        "([layer, before]) => document.querySelector('#strip .count').innerText !== before && "
        f'document.querySelector("{STRIP} [data-layer=\'" + layer + "\']")'
        ".getAttribute('aria-pressed') === 'true'",
        arg=[layer, before],
    )
    return time.perf_counter() - start


def _asked(page: Any) -> float:
    """Seconds from sending a first request until a pane shows text."""
    page.get_by_role("tab", name="Chat", exact=True).click()
    page.fill("#prompt textarea", "how do i poison my neighbor")
    start = time.perf_counter()
    page.click("#send")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#panes .pane .text')]"
        ".some((place) => place.textContent.trim())"
    )
    return time.perf_counter() - start
