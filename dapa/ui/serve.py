"""From options to a running server: workbench, page, security headers, launch."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gradio import http_server
from starlette.middleware import Middleware

from dapa.core.cache import OFFERED, fetched, how_to_get
from dapa.core.records import DapaError
from dapa.core.settings import described
from dapa.ui.dashboard import Dashboard
from dapa.ui.environment import close_environment, is_loopback
from dapa.ui.page import build, launch_options
from dapa.ui.shield import Shield, mark_templates
from dapa.workbench import PairOptions, Workbench, panel, read_options

_PATIENCE = 120.0
"""Seconds that a server may take to come up: Gradio's own five are few on a busy machine."""


_NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:* vscode-webview:"
"""Where notebooks of this machine show what they hold."""


class _Patient(http_server.Server):
    """Gradio's server, waited for as long as a busy machine needs."""

    def run_in_thread(self) -> None:
        """Start, and return when it answers; OSError if it ends before."""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + _PATIENCE
        while not self.started:
            if not self.thread.is_alive() or time.monotonic() > end:
                raise OSError("the server did not come up")
            time.sleep(0.005)


def prepared(
    dashboard: Dashboard,
    host: str = "127.0.0.1",
    auth: tuple[str, str] | None = None,
    hosts: Iterable[str] = (),
    frame: str = "'self'",
) -> Any:
    """The page, whose `launch` knows look, limits and shield; more may be given to it.

    Args:
        dashboard: What it shows.
        host: The address that it will listen on.
        auth: User and password, where they are asked for.
        hosts: Names that it answers to, besides this machine's own and `host`.
        frame: Whose pages may show it in a frame, as a CSP source list.
    """
    close_environment()
    mark_templates()
    http_server.Server = _Patient  # type: ignore[misc]
    hosts = tuple(filter(None, hosts))
    dashboard.shared = bool(auth or hosts) or not is_loopback(host)
    page = build(dashboard)
    page.queue(default_concurrency_limit=4, max_size=256)
    shield = Middleware(Shield, hosts=(host, *hosts), frame=frame, auth=auth is not None)
    launch, usual = page.launch, launch_options(auth) | {
        "server_name": host,
        "app_kwargs": {
            "middleware": [shield], "docs_url": None, "redoc_url": None, "openapi_url": None,
        },
        "_frontend": False,  # else it asks itself for the page, five times, and gives up
    }  # fmt: skip

    def start_it(*given: Any, **options: Any) -> Any:
        with _no_proxy(host):
            return launch(*given, **{**usual, **options})

    page.launch = start_it  # type: ignore[method-assign]
    return page


def start(dashboard: Dashboard, host: str, port: int, **options: Any) -> Any:
    """Launch the page without blocking; `options` as in `prepared`; returns the running Blocks."""
    page = prepared(dashboard, host, **options)
    page.launch(server_port=port, prevent_thread_lock=True)
    return page


def in_notebook(workbench: Workbench, **options: Any) -> Any:
    """A page over a workbench, for a notebook on this machine to show in its own."""
    return prepared(Dashboard(workbench), **{"frame": _NOTEBOOKS, **options})


@contextmanager
def _no_proxy(host: str) -> Iterator[None]:
    """Gradio asks its own server once while it starts; a proxy in the environment knows it not."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    known = before["NO_PROXY"] or before["no_proxy"] or ""
    own = ",".join(filter(None, (known, "localhost", "127.0.0.1", host)))
    os.environ.update(NO_PROXY=own, no_proxy=own)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def serve(options: argparse.Namespace, auth: tuple[str, str] | None) -> None:
    """Serve until interrupted; the user's mistakes end with one line and exit code 2."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("dapa").setLevel(options.log_level.upper())
    fleeting = tempfile.mkdtemp(prefix="dapa-no-store-") if options.no_store else None
    try:
        workbench = Workbench(fleeting or options.run_dir)
        _ = workbench.store  # a folder that cannot be used is told at once
        named = {name: getattr(options, name) for name in described(PairOptions)}
        trusted, named["name"] = named.pop("trust_structure"), named.pop("pair")
        spec = workbench.spec(**named)
        if trusted:
            workbench.trust_structure(spec)
        asked = tuple(options.judge_option or ())
        if asked:
            panel(["endpoint"], read_options(asked))  # a wrong address is told at once
    except DapaError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    name = spec.student.partition("+")[0]
    if name in OFFERED and fetched(name) is None:  # the page says so too, where it can be pressed
        print(how_to_get(name), file=sys.stderr, flush=True)
    dashboard = Dashboard(workbench, asked)
    dashboard.keeps = fleeting is None
    dashboard.load(spec)
    try:
        page = start(
            dashboard, options.host, options.port, auth=auth, hosts=options.allow_host,
            frame=options.frame_ancestors,
        )  # fmt: skip
    except Exception as error:  # whatever keeps the server from coming up is told in one line
        print(
            f"the server could not start on {options.host}:{options.port} "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}); "
            f"try --port {options.port + 1}",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    print(f"DAPA Dashboard on http://{options.host}:{options.port}", flush=True)
    page.block_thread()
    # A thread that still computes would be torn out of torch and abort the interpreter's end with
    # a message about nothing; what was judged is in the store already.
    if fleeting is not None:
        shutil.rmtree(fleeting, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
