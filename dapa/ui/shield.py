"""What stands before Gradio: who may call, from where, and what a page of ours may run.

- Only names of this machine, and those that whoever started the server allows, are answered: else a
  foreign page whose name is bent to 127.0.0.1 would be this page's own site (DNS rebinding).
- What another site's page sends is refused.
- Where a password is set, a stranger gets the way in and nothing else; Gradio guards most of its
  routes but not all.
- A script runs only where the template's own tag carries this answer's nonce. `unsafe-eval` stays:
  Gradio compiles its templates in the page.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from secrets import token_urlsafe
from typing import Any

from gradio import routes
from jinja2 import BaseLoader, Environment
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("dapa.ui")
NONCE = "dapa_nonce"
"""Where a request carries its nonce to the template."""
_CSP = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frame}"
)
_FOREIGN = "this request comes from another site's page; open the dashboard's own address"
_STRANGER = "log in first: open the dashboard's address in a browser"
_TOLD = "gradio_api_info | toorjson"
_TOLD_GUESTS = "(gradio_api_info if not config.auth_required else {}) | toorjson"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WAY_IN = re.compile(
    r"/(login/?|logout|favicon\.ico|theme\.css|robots\.txt|manifest\.json|pwa_icon(/.*)?|"
    r"(static|assets|svelte)/.*|gradio_api/(login_check/?|user/?|theme\.css|startup-events))?"
)
"""What a login page needs; the page itself is the login until someone has logged in."""


class Loader(BaseLoader):
    """Gradio's templates, each of whose own script tags carries the request's nonce.

    A stranger's login page does not list the handlers.

    The tags are marked in the template's source, before anything is filled in, so that a `<script`
    that stands in a value gets none.
    """

    def __init__(self, inner: BaseLoader) -> None:
        """Read through `inner`."""
        self.inner = inner

    def get_source(self, environment: Environment, template: str) -> tuple[str, Any, Any]:
        """A template's source with a nonce in each script tag."""
        source, name, fresh = self.inner.get_source(environment, template)
        nonce = f'<script nonce="{{{{ request.scope["{NONCE}"] }}}}"'
        return source.replace("<script", nonce).replace(_TOLD, _TOLD_GUESTS), name, fresh


def mark_templates() -> None:
    """Let Gradio's templates carry the nonce; done once a process."""
    environment = routes.templates.env
    if not isinstance(environment.loader, Loader):
        assert environment.loader is not None, "Gradio reads its page from a template"
        environment.loader = Loader(environment.loader)
        if environment.cache is not None:
            environment.cache.clear()


def host_name(host: str) -> str:
    """The name in a Host header or in an option: without port and brackets, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.partition(":")[0].removesuffix(".")


class Shield:
    """Turns away who may not call; adds the security headers to every answer."""

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] = (), frame: str = "'self'", auth: bool = False
    ) -> None:
        """Wrap an ASGI application.

        Args:
            app: Gradio's.
            hosts: Names that it answers to, besides this machine's own.
            frame: Whose pages may show it in a frame, as a CSP source list.
            auth: Does it ask for a password?
        """
        self.app, self.frame, self.auth = app, frame, auth
        self.hosts = frozenset({*_LOOPBACK, *filter(None, map(host_name, hosts))})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass, with headers added to the start of an HTTP answer."""
        if scope["type"] == "websocket":  # Gradio 6 opens none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        nonce = token_urlsafe(16)
        scope[NONCE] = nonce
        policy = _CSP.format(nonce=nonce, frame=self.frame).encode()

        async def sealed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if message["status"] == 500:  # Gradio's answer where a handler refused its values
                    message["status"] = 400
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", policy),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            try:
                await self.app(scope, receive, sealed)
                return
            except Exception as error:  # a body that no route expects; our handlers raise nothing
                log.error("%r could not be answered: %s", scope["path"][:80], type(error).__name__)
                if begun:  # such as a stream of an event that is not there: nothing more comes
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                refused = 400, f"this cannot be answered ({type(error).__name__}); reload the page"
        status, line = refused
        plain = [(b"content-type", b"text/plain; charset=utf-8")]
        await sealed({"type": "http.response.start", "status": status, "headers": plain})
        await send({"type": "http.response.body", "body": line.encode("utf-8", "replace")})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and line for a request that may not pass."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        name = host_name(headers.get("host", ""))
        if name not in self.hosts:
            shown = re.sub(r"[^\w.:\-]", "?", name)[:80]
            return 421, (
                f"this server does not answer to the name {shown!r}; open it by its own address, "
                f"or start it with --allow-host {shown or 'NAME'}"
            )
        if _from_elsewhere(scope, headers):
            return 403, _FOREIGN
        if self.auth and not _WAY_IN.fullmatch(scope["path"]) and not _known(scope, headers):
            return 401, _STRANGER
        return None


def _from_elsewhere(scope: Scope, headers: dict[str, str]) -> bool:
    """Would this request change something, and does a browser say that another site's page sent it?

    A page may send without being able to read the answer; a proxy tells the address that was asked.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS") or "origin" not in headers:
        return False  # without an origin it is no browser's page: a script on its own account
    origin = headers["origin"].partition("://")[2]
    return origin not in (headers.get("host"), headers.get("x-forwarded-host"))


def _known(scope: Scope, headers: dict[str, str]) -> bool:
    """Did the caller log in? As Gradio asks it of its own cookies."""
    app = scope["app"]
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return False
    for kind in ("access-token", "access-token-unsecure"):
        cookie = cookies.get(f"{kind}-{app.cookie_id}")
        if cookie is not None and cookie.value in app.tokens:
            return True
    return False
