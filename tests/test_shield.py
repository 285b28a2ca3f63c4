"""What stands before Gradio: names, logins, scripts, and the environment that it starts in."""

import re
import socket

import httpx
import pytest
from fastapi.routing import APIRoute
from jinja2 import DictLoader, Environment
from screen import dashboard

from dapa.ui import front
from dapa.ui.environment import close_environment
from dapa.ui.shield import NONCE, Loader, host_name

pytestmark = pytest.mark.browser  # starts servers: runs with the browser tests, one at a time
OPENING = {
    "GRADIO_ALLOWED_PATHS": "/etc",
    "GRADIO_MCP_SERVER": "True",
    "GRADIO_SHARE": "True",
    "GRADIO_VIBE_MODE": "1",
    "GRADIO_RUN_HISTORY": "True",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}
"""An environment that opens what the program means to close, behind a proxy that is not there."""


@pytest.fixture(scope="module")
def board(planted_pair, tmp_path_factory):
    environment = pytest.MonkeyPatch()
    for name, value in OPENING.items():
        environment.setenv(name, value)
    options = {"hosts": ["dapa.example:8080"], "frame": "https://huggingface.co"}
    with dashboard(planted_pair, tmp_path_factory.mktemp("runs"), **options) as served:
        environment.undo()
        yield served


@pytest.fixture(scope="module")
def locked(planted_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with dashboard(planted_pair, folder, auth=("me", "secret")) as served:
        yield served


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost:7860", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("[::1]:7860", True),
        ("dapa.example", True),
        ("dapa.example:443", True),
        ("rebound.evil.invalid", False),
        ("127.0.0.1.evil.invalid:7860", False),
        ("192.168.1.4:7860", False),
        ("", False),
        ("<b>x</b>", False),
    ],
)
def test_only_allowed_names_are_answered_and_the_refusal_names_the_way_out(board, host, answered):
    for path in ("/", "/config", "/gradio_api/queue/join"):
        got = board.client.get(board.url + path, headers={"Host": host})
        assert (got.status_code != 421) == answered, (host, path)
        if not answered:
            assert "--allow-host" in got.text and "\n" not in got.text and "<" not in got.text
            assert got.headers["content-type"].startswith("text/plain")
            assert not host or re.sub(r":\d+$", "", host)[:5] in got.text or "<" in host


def test_a_host_is_compared_by_its_name_alone():
    assert host_name("[::1]:80") == host_name("::1") == "::1"
    assert host_name("Example.ORG.:443") == "example.org"


# -- scripts -----------------------------------------------------------------------------------


def test_the_templates_own_six_scripts_carry_a_nonce_that_no_other_answer_has(board):
    seen = set()
    for _ in range(2):
        answer = board.client.get(board.url)
        policy = answer.headers["content-security-policy"]
        (nonce,) = re.findall(r"script-src 'self' 'nonce-([^']+)' 'unsafe-eval';", policy)
        assert re.findall(r"<script[^>]*>", answer.text).count("<script>") == 0
        assert len(re.findall(r"<script\b", answer.text)) == 6
        assert answer.text.count(f'<script nonce="{nonce}"') == 6
        assert "frame-ancestors https://huggingface.co" in policy
        seen.add(nonce)
    assert len(seen) == 2


def test_a_script_that_stands_in_a_value_gets_no_nonce():
    class Asked:
        scope = {NONCE: "n0nce"}

    page = "<script>let a = {{ config }};</script>"
    made = Environment(loader=Loader(DictLoader({"page": page})))
    told = made.get_template("page").render(request=Asked, config="'</script><script>evil()'")
    assert told.count('nonce="n0nce"') == 1 and "<script>evil()" in told


# -- environment -------------------------------------------------------------------------------


def test_the_environment_opens_nothing_and_a_proxy_in_it_stops_no_start(board):
    page = board.client.get(board.url)
    assert page.status_code == 200
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/mcp/", "/gradio_api/vibe-code",
                 "/gradio_api/runs"):  # fmt: skip
        answer = board.client.get(board.url + path)
        assert answer.status_code in (403, 404), (path, answer.status_code)
    config = board.client.get(f"{board.url}/config").json()
    assert not config.get("mcp_server") and not config.get("vibe_mode")


def test_gradios_switches_are_put_away_but_for_those_that_open_nothing(monkeypatch):
    import os

    monkeypatch.setenv("GRADIO_ROOT_PATH", "/dapa")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    close_environment()
    kept = {name for name in os.environ if name.startswith("GRADIO_")}
    assert kept <= {"GRADIO_ROOT_PATH", "GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"}
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "0"


# -- logins ------------------------------------------------------------------------------------


def routes(board):
    """Every path of the server with something put into its holes."""
    found, left = set(), list(board.app.routes)
    while left:
        route = left.pop()
        if isinstance(route, APIRoute):
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            found |= {(method, path) for method in route.methods}
        elif hasattr(route, "original_router"):
            left += route.original_router.routes
    return sorted(found)


OPEN_TO_STRANGERS = re.compile(
    r"/(login/?|logout|favicon\.ico|theme\.css|robots\.txt|manifest\.json|pwa_icon(/x)?|static/x|"
    r"assets/x|svelte/x|gradio_api/(login_check/?|user/?|theme\.css|startup-events))?"
)


def test_a_stranger_gets_the_way_in_and_nothing_else(locked):
    every = routes(locked)
    assert len(every) > 70, "Gradio keeps its routes elsewhere now"
    for method, path in every:
        answer = locked.client.request(method, locked.url + path, timeout=20)
        if not OPEN_TO_STRANGERS.fullmatch(path):
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert "\n" not in answer.text
    front_page = locked.client.get(locked.url).text
    assert "auth_required" in front_page and "chat_send" not in front_page


def test_who_logged_in_is_served_and_may_ask(locked):
    with httpx.Client(base_url=locked.url) as visitor:
        wrong = visitor.post("/login", data={"username": "me", "password": "no"})
        assert wrong.status_code == 400
        assert (
            visitor.post("/login", data={"username": "me", "password": "secret"}).status_code == 200
        )
        assert "chat_send" in visitor.get("/config").text
        with visitor.stream("GET", "/gradio_api/heartbeat/x") as beat:
            assert beat.status_code == 200
    with httpx.Client(base_url=locked.url, cookies={"access-token-unsecure-x": "guess"}) as thief:
        assert thief.get("/config").status_code == 401


# -- the front door ----------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["'self'; script-src *", "https://a\nb", "", "a,b"])
def test_what_is_no_list_of_sites_cannot_become_a_policy(given, capsys):
    with pytest.raises(SystemExit) as ended:
        front.main(["--frame-ancestors", given])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "--frame-ancestors" in told and told.count("\n") == 1


def test_a_space_tells_its_options_through_the_environment(monkeypatch):
    monkeypatch.setenv("DAPA_HOST", "0.0.0.0")
    monkeypatch.setenv("DAPA_AUTH", "none")
    monkeypatch.setenv("DAPA_ALLOW_HOST", "me-dapa.hf.space,huggingface.co")
    read = front.arguments([])
    assert (read.host, read.auth) == ("0.0.0.0", front.OPEN)
    assert {"me-dapa.hf.space", "huggingface.co"} <= set(read.allow_host)


def test_a_server_that_cannot_come_up_ends_with_one_line(monkeypatch, tmp_path, capsys):
    from dapa.ui import serve

    with socket.socket() as taken:  # taken between the look at it and the start
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(front, "check_port", lambda host, port: None)
        monkeypatch.setattr(serve.Dashboard, "load", lambda self, spec: None)
        with pytest.raises(SystemExit) as ended:
            front.main(["--port", str(port), "--run-dir", str(tmp_path)])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "Traceback" not in told
    assert told.strip().count("\n") == 0 and f"--port {port + 1}" in told
