"""Whatever is sent to whatever address: a plain answer, no error of the server's, no path of it."""

import json
import re
import sys
import tempfile
from random import Random
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute
from screen import OURS, dashboard

from dapa.ui.page import VISITORS

pytestmark = pytest.mark.browser  # starts a server: runs with the browser tests, one at a time
EACH = 60
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
VALUES = [
    None, "", " ", "how \ud800", "\ud83d", "a\0b", "\u202etxt", MARKUP, "x" * 5000, "../../etc",
    "nan", "1e999", 0, -1, 2, 3.5, 10**400, True, False, [], {}, [[1], {"a": None}], ["\udfff"],
    {"\ud800": "\udfff"}, {"a": MARKUP}, FILE, [FILE], {"path": "../../app.py"},
    {"__type__": "update", "value": "x"}, {"url": "http://evil.invalid/x", **FILE},
]  # fmt: skip
EVENTS = [
    None, 7, "not an object", [], {}, {"op": "toggle", "layers": [99]}, {"op": MARKUP},
    {"run": "../../etc/passwd"}, {"run": "\ud800"}, {"layer": 10**9, "toggle": True},
    {"text": "\ud800"}, {"pane": MARKUP, "label": "\udfff"}, {"visitor": 3}, {"choice": "Z"},
    {"look": MARKUP, "op": "\ud800"}, {"index": [[], {}], "value": MARKUP},
]  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b"3", b'"\\ud800"', b"\xff\xfe", b'{"data": 3}', b'{"fn_index": -1}',
    b'{"fn_index": 999999, "data": []}', b'{"data": [], "session_hash": {"a": 1}}',
    b'{"event_id": "\\ud800", "fn_index": 0, "session_hash": "x"}', b'{"fn_index": "<b>"}',
    b"a=b&c=d", b"--x\r\nContent-Disposition: form-data\r\n\r\n", b"[" * 100_000,
]  # fmt: skip
PIECES = ["x", "..", "%2e%2e%2fapp.py", "/etc/passwd", "\ud800", "<b>", "0", "a" * 3000, "%00"]
tenth = pytest.mark.parametrize(
    "share", [10, pytest.param(1, marks=pytest.mark.full)], ids=["tenth", "full"]
)


@pytest.fixture(scope="module")
def board(planted_pair, tmp_path_factory):
    with dashboard(planted_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


def plain(board, said, *, sent=""):
    """No traceback and no place of this machine, but for what was sent."""
    own = [str(board.workbench.run_dir), OURS, sys.prefix, "site-packages", "Traceback"]
    for place in own:
        assert place not in said or place in sent, (place, said[:500])


def told_in_one_line(answer, name):
    line = answer["output"].get("error")
    assert line and "\n" not in line and "<" not in line, (name, line)


def count_of(share):
    return EACH // share


@tenth
def test_every_handler_answers_what_it_is_sent_in_plain_words(board, share, capsys):
    sent = refused = 0
    visitor = uuid4().hex  # one for all: who is new costs more than a call
    for name, row in board.functions().items():
        if name in ("load_pair", "get_pair", "link_fetch"):
            continue  # they would fetch; what they are given is checked by `check_pair` too
        chance, wanted, calls = Random(f"{name}"), len(row["inputs"]), []
        for _ in range(count_of(share)):
            length = wanted if chance.random() < 0.8 else chance.randrange(wanted + 3)
            data = [chance.choice(VALUES) for _ in range(length)]
            calls.append((data, chance.choice(EVENTS)))
        for (data, _), answer in zip(calls, board.posts(row, calls, visitor), strict=True):
            plain(board, json.dumps(answer), sent=json.dumps(data))
            sent += 1
            if not answer["success"]:
                refused += 1
                told_in_one_line(answer, name)
    assert board.client.get(board.url).status_code == 200 and board.workbench.loaded
    with capsys.disabled():
        print(
            f"\n{sent:,} raw posts on {len(board.functions())} handlers: {refused:,} refused in a "
            "line, none failed"
        )


@tenth
def test_every_address_answers_any_body_without_an_error_of_the_servers(board, share, capsys):
    sent, every, codes = 0, set(), {}
    left = list(board.app.routes)
    while left:
        route = left.pop()
        if isinstance(route, APIRoute):
            every |= {(method, route.path) for method in route.methods}
        elif hasattr(route, "original_router"):
            left += route.original_router.routes
    assert len(every) > 70
    for method, path in sorted(every):
        chance = Random(f"{method} {path}")
        for _ in range(count_of(share)):
            there = re.sub(
                r"\{[^}]*\}",
                lambda _, c=chance: quote(c.choice(PIECES), safe="/%", errors="replace"), path,
            )  # fmt: skip
            kind = chance.choice(["application/json", "text/plain", "multipart/form-data", "x"])
            body = chance.choice(BODIES) if method not in ("GET", "HEAD") else None
            asked = {"content": body, "headers": {"Content-Type": kind}, "timeout": 60}
            with board.client.stream(method, board.url + there, **asked) as answer:
                kind = answer.headers.get("content-type", "")
                endless = "event-stream" in kind  # for as long as someone listens
                said = "" if endless else answer.read().decode("utf-8", "replace")
            assert answer.status_code < 500, (method, there, body and body[:80], said[:300])
            if "text/html" not in kind:
                plain(board, said)
            sent += 1
            codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
    with capsys.disabled():
        print(f"\n{sent:,} calls of {len(every)} routes, by status: {dict(sorted(codes.items()))}")


def test_a_call_by_name_is_refused_in_a_line_and_is_no_error_of_the_servers(board):
    for name in ("steer", "chat_send", "runs_show", "session_load"):
        for kind in ("run", "api", "call"):
            place = f"{board.url}/gradio_api/{kind}/{name}"
            body = json.dumps({"data": [MARKUP, "\ud800"]})
            answer = board.client.post(place, content=body, timeout=60)
            assert answer.status_code < 500, (place, answer.text)
            plain(board, answer.text)


def test_half_a_character_in_a_choice_is_refused_in_one_line(board):
    for name in ("library_filter", "session_load", "evaluate_source", "check_pair"):
        row = board.functions().get(name)
        if row is None:
            continue
        answer = board.post(row, ["\ud800"] * len(row["inputs"]))
        assert not answer["success"], name
        told_in_one_line(answer, name)


def test_the_upload_folder_is_not_told_elsewhere(board):
    assert tempfile.gettempdir() not in board.client.get(f"{board.url}/config").text


def test_no_more_visits_are_remembered_than_fit_into_memory(board):
    holder = board.app.state_holder
    assert holder.capacity == VISITORS <= 500
    row = board.functions()["open"]
    board.post(row, [None] * len(row["inputs"]), None, "first")
    assert "first" in holder.session_data
    holder.capacity = len(holder.session_data)
    try:
        board.post(row, [None] * len(row["inputs"]), None, "second")
        assert "second" in holder.session_data and len(holder.session_data) <= holder.capacity
    finally:
        holder.capacity = VISITORS
