"""From options to a running server: workbench, page, security headers, launch."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dapa.core.cache import OFFERED, fetched, how_to_get
from dapa.core.records import DapaError
from dapa.core.settings import described
from dapa.ui.dashboard import Dashboard
from dapa.ui.page import build, launch_options
from dapa.workbench import PairOptions, Workbench, panel, read_options

_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Gradio compiles its templates in the page, hence unsafe-eval; nothing from elsewhere may load."""


_FOREIGN = b"this request comes from another site's page; open the dashboard's own address"


def _from_elsewhere(scope: Scope) -> bool:
    """Would this request change something, and does a browser say that another site's page sent it?

    A page may send without being able to read the answer; a proxy tells the address that was asked.
    """
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if "origin" not in headers:
        return False  # no browser's page: a script on its own account
    origin = headers["origin"].partition("://")[2]
    return origin not in (headers.get("host"), headers.get("x-forwarded-host"))


class Shield:
    """Refuses what another site's page sends; adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an ASGI application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with headers added to the start of an HTTP answer."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", _CSP.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        if _from_elsewhere(scope):
            plain = [(b"content-type", b"text/plain")]
            await sealed({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": _FOREIGN})
            return
        await self.app(scope, receive, sealed if scope["type"] == "http" else send)


def start(dashboard: Dashboard, host: str, port: int, auth: tuple[str, str] | None = None) -> Any:
    """Launch the page without blocking; returns the running Blocks."""
    page = build(dashboard)
    page.queue(default_concurrency_limit=4, max_size=256)
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        app_kwargs={"middleware": [Middleware(Shield)], "docs_url": None, "redoc_url": None},
        **launch_options(auth),
    )
    return page


def serve(options: argparse.Namespace, auth: tuple[str, str] | None) -> None:
    """Serve until interrupted; the user's mistakes end with one line and exit code 2."""
    try:
        workbench = Workbench(options.run_dir)
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
    dashboard.load(spec)
    page = start(dashboard, options.host, options.port, auth)
    print(f"DAPA Dashboard on http://{options.host}:{options.port}", flush=True)
    page.block_thread()
    # A thread that still computes would be torn out of torch and abort the interpreter's end with
    # a message about nothing; what was judged is in the store already.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
