"""The server behind the screen: raw POSTs, many sessions at once, headers."""

import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import httpx
import pytest
from screen import dashboard

from dapa.core.records import Mask, Unit
from dapa.workbench import ChatSettings

pytestmark = pytest.mark.browser  # starts a server: runs with the browser tests, one at a time
SETTINGS = list({**ChatSettings().kept(), "tokens": 24}.values())


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


def abuses(count):
    """Name -> (values, event data)."""
    return {
        "missing": ([], None),
        "extra": ([None] * (count + 3), None),
        "objects": ([{"a": 1}] * count, {"op": "toggle", "layers": [99]}),
        "markup": (["<script>alert(1)</script>"] * count, {"op": "<img>", "run": "../../etc"}),
        "huge": ([10**400] * count, {"layer": 10**9, "site": "x" * 5000, "toggle": True}),
        "event": ([None] * count, "not an object"),
    }


@pytest.mark.parametrize(
    "share", [3, pytest.param(1, marks=pytest.mark.full)], ids=["a-third", "full"]
)
def test_any_handler_answers_nonsense_with_a_plain_line(board, share):
    """In CI every handler gets two kinds of nonsense, in turn; in the whole run all six."""
    for turn, (name, row) in enumerate(board.functions().items()):
        for kind, (abuse, (data, event)) in enumerate(abuses(len(row["inputs"])).items()):
            if (turn + kind) % share or (abuse == "missing" and not row["inputs"]):
                continue
            answer = board.post(row, data, event)
            said = json.dumps(answer)
            assert "Traceback" not in said and "site-packages" not in said, (name, abuse)
            if not answer["success"]:
                line = answer["output"]["error"]
                assert line and "\n" not in line and "<" not in line, (name, abuse, line)
            elif abuse in ("missing", "extra"):
                raise AssertionError(f"{name} took {abuse} values")
    assert httpx.get(board.url, timeout=60).status_code == 200
    assert board.workbench.loaded


def test_sixteen_sessions_with_different_masks_do_not_cross(board):
    names = board.functions()
    prompts = [p.text for p in board.workbench.prompts(None, "harmful").prompts[:16]]

    def visit(i):
        session = f"visitor{i}"
        mine = [layer for layer in range(12) if (i * 7 + 3) >> (layer % 4) & 1 or layer == i % 12]
        board.post(names["open"], [None, None], None, session)
        event = {"op": "toggle", "layers": mine, "on": True}
        pressed = board.post(names["steer"], [None], event, session)
        assert pressed["success"], pressed
        asked = board.post(
            names["chat_send"], [prompts[i], None, None, *SETTINGS], None, session, 300
        )
        assert asked["success"], asked
        return Mask.of(Unit(layer) for layer in mine), asked["output"]["data"][1]

    with ThreadPoolExecutor(16) as visitors:
        seen = list(visitors.map(visit, range(16)))
    from dapa.model.decode.sampling import Decoding
    from dapa.ui.parts import badge

    for prompt, (mask, html) in zip(prompts, seen, strict=True):
        for pane in board.workbench.generate(prompt, mask, decoding=Decoding(24)).panes:
            assert pane.text in unescape(re.sub("</?mark[^>]*>", "", html)), (mask.key, pane.name)
            assert badge(pane.verdict.label) in html


def test_every_answer_forbids_what_comes_from_elsewhere(board):
    headers = httpx.get(board.url, timeout=60).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "http:" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/gradio_api/file=/etc/passwd", "/gradio_api/file=../app.py", "/file=/etc/hostname"]
)
def test_no_file_of_the_machine_can_be_read(board, path):
    answer = httpx.get(board.url + path, timeout=60)
    assert answer.status_code in (403, 404) and "root:" not in answer.text


def test_a_large_upload_is_refused(board):
    body = b"x" * (25 * 2**20)
    answer = httpx.post(
        f"{board.url}/gradio_api/upload", files={"files": ("big.txt", body)}, timeout=120
    )
    assert answer.status_code in (400, 413)


def test_the_front_door_opens_with_nothing_said(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = Path(__file__).parents[1] / "app.py"
    told = ("--port", str(port), "--run-dir", str(tmp_path / "runs"))
    server = subprocess.Popen([sys.executable, str(app), *told], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            assert server.poll() is None, server.stderr.read()
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.2)
        else:
            raise AssertionError("no answer in two minutes")
    finally:
        server.terminate()
        server.wait(30)
