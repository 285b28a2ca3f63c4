"""What the program stands in: no variable opens anything, and who can reach an address."""

from __future__ import annotations

import ipaddress
import os

_KEPT = {"GRADIO_ROOT_PATH", "GRADIO_TEMP_DIR"}
"""Of Gradio's switches, those that open nothing."""


def close_environment() -> None:
    """Put away Gradio's switches; some open files, tools, the code or a public link to everyone."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        if name not in _KEPT:
            del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def is_loopback(host: str) -> bool:
    """Can only this machine reach the address?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
