"""The dashboard's front door: arguments -> Workbench -> page -> launch."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from typing import NoReturn

os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a mistake ends with one line and exit code 2."""
    from dapa.core.settings import described
    from dapa.workbench import PairOptions

    parser = argparse.ArgumentParser("app.py", description="DAPA Dashboard in the browser.")
    for name, one in described(PairOptions).items():
        preset, flag = getattr(PairOptions(), name), f"--{name.replace('_', '-')}"
        if isinstance(preset, bool):
            parser.add_argument(flag, action="store_true", help=one.help)
        else:
            parser.add_argument(flag, default=preset, help=one.help)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="needed beyond this machine")
    parser.add_argument("--judge-option", action="append", help="of a chat judge, as url=ADDRESS")
    parser.add_argument("--run-dir", default="runs", help="folder of the run store")
    parser.error = lambda line: fail(f"{line}; see python app.py --help")  # type: ignore
    return parser.parse_args(given)


def fail(line: str) -> NoReturn:
    """End as the user's mistake."""
    print(line, file=sys.stderr)
    raise SystemExit(2)


def is_loopback(host: str) -> bool:
    """Can only this machine reach the address?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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


def main(given: list[str] | None = None) -> None:
    """Start the server; it answers at once and loads the pair beside."""
    options = arguments(given)
    user, colon, password = (options.auth or "").partition(":")
    auth = (user, password) if user and colon and password else None
    if options.auth and auth is None:
        fail("--auth must be user:password, with neither part empty")
    if auth is None and not is_loopback(options.host):
        fail(f"{options.host} can be reached from other machines; add --auth user:password")
    check_port(options.host, options.port)
    from dapa.ui.serve import serve

    serve(options, auth)


if __name__ == "__main__":
    main()
