"""The dashboard's front door: arguments -> Workbench -> page -> launch.

`python app.py` and `dapa app` both come here. Nothing heavy is imported before the arguments are
read, and Gradio's own switches in the environment are put away before Gradio reads them.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from typing import NoReturn

from dapa.core.errors import lacking
from dapa.ui.environment import close_environment, is_loopback

OPEN = "none"
"""Given as --auth: whoever reaches the address may use it."""
_SOURCES = re.compile(r"('self'|'none'|(https?://)?[\w*.:\-]+)( ('self'|(https?://)?[\w*.:\-]+))*")


def arguments(given: list[str] | None = None, program: str = "app.py") -> argparse.Namespace:
    """Read the command line; a mistake ends with one line and exit code 2."""
    close_environment()
    from dapa.core.settings import described
    from dapa.workbench import PairOptions

    parser = argparse.ArgumentParser(program, description="DAPA Dashboard in the browser.")
    for name, one in described(PairOptions).items():
        preset, flag = getattr(PairOptions(), name), f"--{name.replace('_', '-')}"
        if isinstance(preset, bool):
            parser.add_argument(flag, action="store_true", help=one.help)
        else:
            parser.add_argument(flag, default=preset, help=one.help)
    parser.add_argument("--host", default=_told("HOST", "127.0.0.1"), help="address to listen on")
    parser.add_argument("--port", type=int, default=_told("PORT", "7860"), help="port to listen on")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", default=_told("AUTH"),
        help="needed beyond this machine; none lets anyone in",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", metavar="NAME", action="append",
        help="a name that browsers may call this server by, besides this machine's own: of a "
        "proxy, a container, a Space; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--frame-ancestors", metavar="SITES", default=_told("FRAME_ANCESTORS", "'self'"),
        help="whose pages may show this one in a frame, as https://huggingface.co",
    )  # fmt: skip
    parser.add_argument("--judge-option", action="append", help="of a chat judge, as url=ADDRESS")
    parser.add_argument("--run-dir", default="runs", help="folder of the run store")
    parser.add_argument("--no-store", action="store_true", help="keep nothing once it has ended")
    levels = ("debug", "info", "warning", "error")
    parser.add_argument("--log-level", default="warning", choices=levels, help="on this terminal")
    usage = "python app.py" if program == "app.py" else program
    parser.error = lambda line: fail(f"{line}; see {usage} --help")  # type: ignore
    read = parser.parse_args(given)
    read.allow_host = [*(read.allow_host or ()), *(_told("ALLOW_HOST") or "").split(",")]
    return read


def _told(name: str, usual: str | None = None) -> str | None:
    """What the environment says of an option, for programs that are started without arguments."""
    return os.environ.get(f"DAPA_{name}") or usual


def fail(line: str) -> NoReturn:
    """End as the user's mistake."""
    print(line, file=sys.stderr)
    raise SystemExit(2)


def check_port(host: str, port: int) -> None:
    """Fail with a next step where the port cannot be had."""
    if not 1 <= port <= 65535:
        fail(f"port {port} is not a port; choose 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fail(f"cannot listen on {host}:{port} ({error.strerror}); try --port {port + 1}")


def main(given: list[str] | None = None, program: str = "app.py") -> None:
    """Start the server; it answers at once and loads the pair beside."""
    options = arguments(given, program)
    user, colon, password = (options.auth or "").partition(":")
    auth = (user, password) if user and colon and password else None
    if options.auth not in (None, OPEN) and auth is None:
        fail("--auth must be user:password, with neither part empty")
    if options.auth is None and not is_loopback(options.host):
        fail(f"{options.host} can be reached from other machines; add --auth user:password")
    if not _SOURCES.fullmatch(options.frame_ancestors):
        fail(
            f"--frame-ancestors {options.frame_ancestors[:80]!r} is no list of sites; give some as "
            "https://huggingface.co, parted by spaces, or 'self' or 'none'"
        )
    check_port(options.host, options.port)
    try:
        from dapa.ui.serve import serve
    except ModuleNotFoundError as error:
        fail(lacking(error))
    serve(options, auth)
