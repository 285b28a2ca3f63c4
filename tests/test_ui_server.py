"""The server behind the screen: raw POSTs, many sessions at once, headers."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import httpx
import pytest
from screen import dashboard

from dapa.core.records import Mask, Unit
from dapa.workbench import ChatSettings, SearchSettings

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
    "share", [12, pytest.param(1, marks=pytest.mark.full)], ids=["a-twelfth", "full"]
)
def test_any_handler_answers_nonsense_with_a_plain_line(board, share):
    """In CI every second handler gets one kind of nonsense; in the whole run each gets all six."""
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


@pytest.mark.parametrize(("many", "turns"), [(4, 4), pytest.param(16, 20, marks=pytest.mark.full)])
def test_many_visitors_with_different_masks_do_not_cross(board, many, turns, capsys):
    """While a search runs; every reply is the one that the serial reference gives."""
    names = board.functions()
    prompts = [p.text for p in board.workbench.prompts(None, "harmful").prompts]
    job = board.workbench.search_job(SearchSettings(prompt_limit=24))
    search = threading.Thread(target=job.run, daemon=True)
    search.start()

    def visit(i):
        session, seen = f"visitor{i} of {many}", []
        board.post(names["open"], [None, None], None, session)
        for turn in range(turns):
            k = i + many * turn
            mine = [x for x in range(12) if (k * 7 + 3) >> (x % 4) & 1 or x == k % 12]
            board.post(names["steer"], [None], {"op": "none"}, session)
            event = {"op": "toggle", "layers": mine, "on": True}
            pressed = board.post(names["steer"], [None], event, session)
            assert pressed["success"], pressed
            prompt = prompts[k % len(prompts)]
            asked = board.post(
                names["chat_send"], [prompt, None, None, *SETTINGS], None, session, 600
            )
            assert asked["success"], asked
            mask = Mask.of(Unit(layer) for layer in mine)
            seen.append((prompt, mask, asked["output"]["data"][1]))
        return seen

    with ThreadPoolExecutor(many) as visitors:
        seen = [each for told in visitors.map(visit, range(many)) for each in told]
    job.control.stop()
    search.join(120)
    from dapa.model.decode.sampling import Decoding
    from dapa.ui.parts import badge

    for prompt, mask, html in seen:
        for pane in board.workbench.generate(prompt, mask, decoding=Decoding(24)).panes:
            assert pane.text in unescape(re.sub("</?mark[^>]*>", "", html)), (mask.key, pane.name)
            assert badge(pane.verdict.label) in html
    with capsys.disabled():
        print(
            f"\n{many} visitors, {len(seen)} answers of three panes beside a search: all as alone"
        )


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
