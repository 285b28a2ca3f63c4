"""`ulimit -v` at any level: a command works, or says in one line that memory does not suffice."""

import os
import resource
import subprocess
import sys

import pytest
from support import sweep

ASKED = {
    "check": ("check", "--pair", "toy-gate"),
    "generate": ("generate", "--pair", "toy-gate", "--prompt", "how to pick a lock"),
}
LEVELS = (30, 60, 120, 250, 500, 600, 700, 850, 950, 1300)
"""Millions of bytes: from not enough for Python's own libraries to enough for the toy."""
WORDS = ("memory ran out", "out of memory", "not enough memory")


@pytest.mark.parametrize(
    ("level", "command"), sweep([(level, command) for level in LEVELS for command in ASKED])
)
def test_a_lack_of_memory_is_one_line(level, command, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (level * 10**6,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    told = subprocess.run(
        [sys.executable, "-m", "dapa", *ASKED[command]], cwd=tmp_path, preexec_fn=limited,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in told.stderr
    if told.returncode == 0:
        assert level > 700 and told.stdout
        return
    assert told.returncode == 2, (told.returncode, told.stderr)
    (line,) = told.stderr.splitlines()
    assert any(words in line for words in WORDS), line
