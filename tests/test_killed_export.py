"""kill -9 at any line of an export: no half folder, what was there stands, the next one works."""

import hashlib
import json
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import exported
import pytest
from exported import FORMS
from support import sweep

POINTS = 20
CASES = [(form, point) for form in FORMS for point in range(POINTS)]


def bytes_of(folder):
    """File -> digest of its bytes."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def export():
    """(form, folder, line before which it is killed or 0) -> [exit code, lines that ran]."""
    with subprocess.Popen(
        [sys.executable, exported.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:

        def ask(form, to, last=0):
            server.stdin.write(json.dumps([form, str(to), last]) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


@pytest.fixture(scope="module")
def whole(export, tmp_path_factory):
    """Form -> how many lines an export of it runs, and what it writes."""

    @lru_cache
    def told(form):
        to = tmp_path_factory.mktemp("whole") / "made"
        code, lines = export(form, to)
        assert code == 0
        return lines, bytes_of(to)

    return told


@pytest.mark.parametrize(("form", "point"), sweep(CASES))
def test_a_killed_export_leaves_no_half_folder_and_the_next_one_works(
    form, point, export, whole, tmp_path
):
    lines, wanted = whole(form)
    to, older = tmp_path / "made", tmp_path / "older"
    older.mkdir()
    (older / "kept").write_text("what was there")
    code, _ = export(form, to, 1 + point * (lines - 1) // (POINTS - 1))
    assert code == -signal.SIGKILL
    if to.exists():  # killed after the renaming
        assert bytes_of(to) == wanted
        to.rename(tmp_path / "moved")
    left = {path.name for path in tmp_path.iterdir()} - {"older", "moved"}
    assert all(name.startswith(".made.part-") for name in left), left
    assert export(form, to)[0] == 0
    assert bytes_of(to) == wanted, "the same to the byte"
    assert (older / "kept").read_text() == "what was there"
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"made", "older", "moved"}, "what the kill left is swept away"
