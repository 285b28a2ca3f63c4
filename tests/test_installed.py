"""The wheel in a clean environment: it brings its assets, searches the toy and starts its page."""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

import dapa

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source as it stands, with the build backend that is here already."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(place), str(ROOT)], check=True)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment's `bin` with the wheel; what it needs is borrowed, not fetched again."""
    place = tmp_path_factory.mktemp("clean")
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    borrowed = Path(told.stdout.strip()) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return place / "bin"


def clean():
    """An environment that knows nothing of the clone."""
    known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DAPA_ASSETS")}
    return {**known, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(installed, *command, where):
    return subprocess.run(
        [installed / command[0], *command[1:]], cwd=where, env=clean(), capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip


def test_the_wheel_holds_the_program_and_every_asset(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    kept = subprocess.run(
        ["git", "ls-files", "assets"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    files = [name for name in kept if name] or [
        str(path.relative_to(ROOT)) for path in (ROOT / "assets").rglob("*") if path.is_file()
    ]
    assert len(files) > 80
    missing = [name for name in files if f"dapa/{name}" not in names]
    assert not missing
    assert "dapa/ui/front.py" in names and not any(name.startswith("tests/") for name in names)


def test_it_tells_its_version_and_lies_where_it_was_installed(installed, tmp_path):
    told = run(installed, "dapa", "--version", where=tmp_path)
    assert (told.returncode, told.stdout.strip()) == (0, f"dapa {dapa.__version__}")
    asked = "import dapa, dapa.core.assets as a; print(dapa.__file__); print(a.folder())"
    place, assets = run(installed, "python", "-c", asked, where=tmp_path).stdout.split()
    assert str(installed.parent) in place and assets == str(Path(place).parent / "assets")


def test_it_searches_the_toy(installed, tmp_path):
    told = run(
        installed, "dapa", "search", "--pair", "toy-gate", "--prompt-limit", "16", "--json",
        "found.json", where=tmp_path,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["layers"] and found["run"] and found["dsr"]["best"]["n"] == 16
    assert (tmp_path / "runs").is_dir()


def test_it_opens_the_dashboard(installed, tmp_path):
    told = run(installed, "dapa", "app", "--help", where=tmp_path)
    assert told.returncode == 0 and "usage: dapa app" in told.stdout
    wrong = run(installed, "dapa", "app", "--port", "0", where=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [installed / "dapa", "app", "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=clean(), stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 300
        while True:
            assert server.poll() is None and time.monotonic() < end
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=60, trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.5)
        assert page.status_code == 200 and "DAPA Dashboard" in page.text
    finally:
        server.terminate()
        server.wait(60)
