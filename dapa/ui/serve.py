"""From options to a running server: workbench, page, security headers, launch."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dapa.records import DapaError
from dapa.ui.desk import Desk
from dapa.ui.page import build, launch_options
from dapa.workbench import Workbench

_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Gradio compiles its templates in the page, hence unsafe-eval; nothing from elsewhere may load."""


class Shield:
    """Adds the security headers to every answer."""

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

        await self.app(scope, receive, sealed if scope["type"] == "http" else send)


def start(desk: Desk, host: str, port: int, auth: tuple[str, str] | None = None) -> Any:
    """Launch the page without blocking; returns the running Blocks."""
    page = build(desk)
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
        spec = workbench.spec(
            options.pair, options.student, options.teacher, options.dtype, options.device
        )
    except DapaError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    desk = Desk(workbench)
    desk.load(spec)
    page = start(desk, options.host, options.port, auth)
    print(f"DAPA Dashboard on http://{options.host}:{options.port}", flush=True)
    page.block_thread()
    # A thread that still computes would be torn out of torch and abort the interpreter's end with
    # a message about nothing; what was judged is in the store already.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
