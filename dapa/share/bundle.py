"""A run as a folder that can be replayed: config, seeds, versions, digests, prompts, verdicts.

`bundle.json` says everything but the single verdicts, which stand a line each in `verdicts.jsonl`.
Replies that may do harm are left out unless asked for; their digests stay, so that a replay is held
against them all the same. No path of this machine is in it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from dapa.core.records import Prompt, SettingError
from dapa.core.version import VERSION
from dapa.judges.base import judges
from dapa.model.digests import joined
from dapa.model.machine import rows_in_flight
from dapa.prompts.format import PREFILL
from dapa.prompts.sets import PromptSet
from dapa.search.engine.oracle import CANONICAL_ROWS
from dapa.share.card import public_name
from dapa.share.folder import new_folder, put
from dapa.share.model import Made, made_at
from dapa.share.report import said
from dapa.store.database import digest
from dapa.store.runs import Run, Store
from dapa.store.verdicts import verdicts_of

FORMAT = "dapa-bundle/1"
FILE, VERDICTS = "bundle.json", "verdicts.jsonl"
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")
_FILES = ("prompts", "harmless", "borderline", "skill", "text", "task_path")
"""Settings that may name a file of this machine."""


@dataclass(frozen=True)
class Bundle:
    """A bundle, read."""

    folder: Path
    run: Mapping[str, Any]
    """Id, kind, title, settings, state and result, as the store had them."""
    trials: Sequence[Mapping[str, Any]]
    """A search's tests, or an evaluation's rows."""
    prompts: Mapping[str, Sequence[Mapping[str, Any]]]
    """Role -> the set that was asked."""
    verdicts: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]

    @property
    def made(self) -> Mapping[str, str]:
        """The digests of all that decided the verdicts."""
        return dict(self.run["settings"].get("made") or {})

    @property
    def precision(self) -> str:
        """In which dtype it was computed."""
        return str(self.made.get("weights", "")).rpartition(":")[2] or "auto"

    def prompt_set(self, role: str) -> PromptSet:
        """One of its sets."""
        found = tuple(Prompt(**one) for one in self.prompts.get(role, ()))
        return PromptSet(role, "harmless" if role == "harmless" else "harmful", found)


def export_bundle(
    store: Store,
    run: Run,
    sets: Mapping[str, PromptSet],
    to: Path | str,
    replies: bool = False,
) -> Made:
    """Write a stored run into a new folder.

    Args:
        store: Where it lies.
        run: A search or an evaluation that has ended.
        sets: Role -> the prompts that it was given.
        to: A folder that does not exist yet.
        replies: Keep replies that comply with harmful requests.

    Raises:
        SettingError: What cannot be written, and why.
    """
    body = {
        "format": FORMAT,
        "run": {
            **{name: getattr(run, name) for name in ("id", "created", "kind", "title", "state")},
            "settings": _public(run.settings),
            "result": run.result,
        },
        "seed": run.settings.get("seed", 0),
        "versions": versions(),
        "prompts": {
            role: [_prompt(prompt) for prompt in found.prompts] for role, found in sets.items()
        },
        "trials": [_row(row, replies) for row in store.trials(run.id)],
    }
    lines = [] if run.kind != "search" else list(_verdicts(store, run, replies))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    body["verdicts"] = {"lines": len(lines), "digest": text_digest(text)}
    whole = json.dumps(body, ensure_ascii=False, indent=1)
    with new_folder(to, len(whole) + len(text)) as folder:
        put(folder / FILE, whole + "\n")
        put(folder / VERDICTS, text)
        put(folder / "README.md", _README.format(run=run.id, kind=run.kind, version=VERSION))
    return made_at("bundle", Path(to))


_README = """# A run that can be replayed

`{kind}` run `{run}` of DAPA Dashboard {version}. With the same two models at hand,

```
python -m dapa replay THIS_FOLDER
```

does it again and says that everything is the same, or what is not. Where the models lie in other
folders, name them with `--student` and `--teacher`.

- `bundle.json`: settings, seed, versions, digests, prompts, result, every test.
- `verdicts.jsonl`: every verdict, a line each; replies that were not judged refusals are left out
  unless they were asked for, and their digests stay.
"""


def versions() -> dict[str, str]:
    """What computed here."""
    found = {
        "dapa": VERSION,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without paths of this machine."""
    told = dict(settings)
    spec = dict(told.get("pair") or {})
    told["pair"] = {
        **spec,
        **{n: public_name(spec[n]) for n in ("student", "teacher") if n in spec},
    }
    for name in _FILES:
        if told.get(name):
            told[name] = public_name(str(told[name]))
    return told


def _prompt(prompt: Prompt) -> dict[str, Any]:
    names = ("text", "category", "split", "twin", "answer")
    return {name: getattr(prompt, name) for name in names if getattr(prompt, name)}


def text_digest(text: str) -> str:
    """A short name for a reply, or for a file of lines, that changes with it."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _row(row: Mapping[str, Any], show: bool) -> dict[str, Any]:
    """A test as it is; an evaluation's row without a reply that may do harm."""
    if "reply" not in row:
        return dict(row)
    told = said(dict(row), show)
    kept = {**row, "reply_digest": text_digest(str(row["reply"]))}
    return {**kept, "reply": None} if told["hidden"] else kept


def contexts(run: Run) -> tuple[str, ...]:
    """Under which names the store may keep a search's verdicts; see `search.engine.oracle`."""
    made = dict(run.settings.get("made") or {})
    parts = {k: v for k, v in made.items() if k not in ("prompts", "judge", "rendered prompts")}
    whole = [joined(parts)] if len(parts) > 1 else []
    pairs = [*whole, str(parts.get("weights", ""))]
    opening, full = judges["opening"](), judges["rules"]()
    both = [(opening.name, full.name), (opening.inside.name, full.inside.name)]
    both.append((opening.after(PREFILL).name, full.after(PREFILL).name))
    shapes = [f"rows {rows_in_flight(kind)}" for kind in ("cpu", "cuda")]
    shapes.append(f"canonical rows {CANONICAL_ROWS}")
    limit = run.settings.get("max_new_tokens")
    return tuple(
        digest(pair, *names, limit, "greedy", shape)
        for pair in pairs
        for names in both
        for shape in shapes
    )


def _verdicts(store: Store, run: Run, replies: bool) -> Iterable[dict[str, Any]]:
    """Every verdict of the masks that the run tried."""
    masks = sorted({str(row["mask"]) for row in store.trials(run.id)})
    for context in contexts(run):
        for mask in masks:
            for line in verdicts_of(store, context, mask):
                hidden = line["label"] != "refusal" and not replies
                reply = line.pop("reply")
                yield {
                    "context": context,
                    "mask": mask,
                    **line,
                    "reply_digest": text_digest(reply),
                    **({} if hidden else {"reply": reply}),
                }


def read_bundle(path: Path | str) -> Bundle:
    """Read a bundle; SettingError for what is none, or was changed.

    Args:
        path: Its folder, or its `bundle.json`.
    """
    place = Path(path).expanduser()
    if place.is_file() and is_zipfile(place):
        raise SettingError(f"{path} is packed; unpack it, and give the folder that holds {FILE}")
    folder = place if place.is_dir() else place.parent
    try:
        body = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise SettingError(
                f"{path} says {str(body['format'])[:40]!r} and a bundle of this version says "
                f"{FORMAT}; replay it with the version that made it"
            )
        text = (folder / VERDICTS).read_bytes().decode("utf-8")
        verdicts = [json.loads(line) for line in text.splitlines()]
        found = Bundle(
            folder, body["run"], body["trials"], body["prompts"], verdicts, body["versions"]
        )
        whole = text_digest(text) == body["verdicts"]["digest"] and isinstance(found.made, dict)
        settings = found.run["settings"]["pair"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(
            f"{path} is no bundle ({type(error).__name__}); give the folder that "
            "`export --as bundle` wrote"
        ) from error
    if not whole or not isinstance(settings, dict):
        raise SettingError(f"{path}: {VERDICTS} is not what the bundle was made with; get it again")
    return found


def verdicts_of_run(store: Store, run: Run) -> list[dict[str, Any]]:
    """Every verdict of a search, as a bundle has them."""
    return list(_verdicts(store, run, False))
