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
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from dapa.core.records import Prompt, SettingError
from dapa.core.version import VERSION
from dapa.judges.base import judges
from dapa.model.digests import joined
from dapa.model.machine import rows_in_flight
from dapa.prompts.sets import PromptSet
from dapa.search.engine.oracle import CANONICAL_ROWS
from dapa.share.card import public_name
from dapa.share.folder import new_folder, put
from dapa.share.model import Made, made_at
from dapa.share.report import said
from dapa.store.database import Run, Store, digest

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
    body["verdicts"] = {"lines": len(lines), "digest": _blake(text)}
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


def _blake(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _row(row: Mapping[str, Any], show: bool) -> dict[str, Any]:
    """A test as it is; an evaluation's row without a reply that may do harm."""
    if "reply" not in row:
        return dict(row)
    told = said(dict(row), show)
    kept = {**row, "reply_digest": _blake(str(row["reply"]))}
    return {**kept, "reply": None} if told["hidden"] else kept


def contexts(run: Run) -> tuple[str, ...]:
    """Under which names the store may keep a search's verdicts; see `search.engine.oracle`."""
    made = dict(run.settings.get("made") or {})
    parts = {k: v for k, v in made.items() if k not in ("prompts", "judge", "rendered prompts")}
    whole = [joined(parts)] if len(parts) > 1 else []
    pairs = [*whole, str(parts.get("weights", ""))]
    opening, full = judges["opening"](), judges["rules"]()
    both = [(opening.name, full.name), (opening.inside.name, full.inside.name)]
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
            for line in store.verdicts_of(context, mask):
                hidden = line["label"] != "refusal" and not replies
                reply = line.pop("reply")
                yield {
                    "context": context,
                    "mask": mask,
                    **line,
                    "reply_digest": _blake(reply),
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
        whole = _blake(text) == body["verdicts"]["digest"] and isinstance(found.made, dict)
        settings = found.run["settings"]["pair"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(
            f"{path} is no bundle ({type(error).__name__}); give the folder that "
            "`export --as bundle` wrote"
        ) from error
    if not whole or not isinstance(settings, dict):
        raise SettingError(f"{path}: {VERDICTS} is not what the bundle was made with; get it again")
    return found


@dataclass(frozen=True)
class Replayed:
    """A bundle beside its replay."""

    run: str
    same: bool
    differences: tuple[str, ...]
    """In plain words, what matters most first; empty where all is the same."""
    compared: Mapping[str, int]
    """What was held against each other -> how many."""
    notes: tuple[str, ...] = ()
    """What is otherwise here and may explain a difference."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "compared": dict(self.compared)}


def refuse_others(bundle: Bundle, parts: Mapping[str, str]) -> tuple[str, ...]:
    """What is otherwise about the loaded pair; SettingError where it is another pair.

    Args:
        bundle: What is replayed.
        parts: Of the pair that is loaded now.
    """
    notes = []
    for name, before in bundle.made.items():
        now = parts.get(name, before)
        if now == before:
            continue
        made_by = bundle.versions.get("dapa", "unknown")
        if name == "prompts":  # they come with the bundle, not with the pair
            raise SettingError(
                "the prompts in the bundle are not those that its run asked, or this version "
                "divides them otherwise; get the bundle again, or replay it with the version that "
                f"made it, {made_by}"
            )
        if name in ("rendered prompts", "judge"):
            raise SettingError(
                f"this version does not do the bundle's run again: its {name} is {before[:40]} "
                f"there and {now[:40]} here; replay it with the version that made it, {made_by}"
            )
        if name != "libraries":
            raise SettingError(
                f"this is not the pair of the bundle: its {name} is {before[:40]} there and "
                f"{now[:40]} here; give the models that it was made with"
            )
        notes.append(f"libraries: {before} then, {now} now")
    return tuple(notes)


def held_against(
    bundle: Bundle, run: Run, trials: Sequence[Mapping[str, Any]], verdicts: Iterable[Any]
) -> Replayed:
    """Compare a search with its bundle.

    Args:
        bundle: What was.
        run: The same, done again.
        trials: Its tests.
        verdicts: Its verdicts, as `verdicts_of_run` gives them.
    """
    found: list[str] = []
    before, now = bundle.run.get("result") or {}, run.result or {}
    for name in ("units", "stop_reason", "need", "target", "one_minimal", "tests", "error"):
        if before.get(name) != now.get(name):
            found.append(f"{name}: {_short(before.get(name))} then, {_short(now.get(name))} now")
    for name in sorted((before.get("dsr") or {}).keys() | (now.get("dsr") or {}).keys()):
        ours, theirs = ((one.get("dsr") or {}).get(name) for one in (before, now))
        if _figures(ours) != _figures(theirs):
            found.append(f"DSR of {name}: {_figures(ours)} then, {_figures(theirs)} now")
    for i, (one, other) in enumerate(zip(bundle.trials, trials, strict=False)):
        names = [n for n in ("mask", "phase", "satisfied") if one.get(n) != other.get(n)]
        full = one["judged"] == one["asked"] and other["judged"] == other["asked"]
        if full and one["defended"] != other["defended"]:
            names.append("defended")
        if names:
            said_of = ", ".join(
                f"{n} {_short(one.get(n))} then, {_short(other.get(n))} now" for n in names
            )
            found.append(f"test {i}: {said_of}")
            break  # all that follows hangs on it
    if len(bundle.trials) != len(trials):
        found.append(f"tests: {len(bundle.trials)} then, {len(trials)} now")
    known = {_key(line): line for line in bundle.verdicts}
    met, apart = 0, list[str]()
    for line in verdicts:
        old = known.get(_key(line))
        if old is None:
            continue
        met += 1
        for name in ("label", "judge", "reply_digest"):
            if old[name] != line[name]:
                apart.append(
                    f"verdict of {line['mask'] or 'the student'}: {name} {old[name]} then, "
                    f"{line[name]} now"
                )
                break
    if apart:
        found.append(f"{len(apart)} of {met} verdicts; first {apart[0]}")
    compared = {"tests": min(len(bundle.trials), len(trials)), "verdicts": met}
    return Replayed(str(bundle.run["id"]), not found, tuple(found), compared)


def rows_against(bundle: Bundle, rows: Sequence[Mapping[str, Any]]) -> Replayed:
    """Compare an evaluation's rows with its bundle's."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["model"], row["measure"], row["prompt"]

    now = {key(row): row for row in rows}
    found, met = list[str](), 0
    for row in bundle.trials:
        other = now.get(key(row))
        if other is None:
            found.append(f"{row['model']}, {row['measure']}: {row['prompt'][:60]!r} was not asked")
            continue
        met += 1
        for name, value in (("verdict", other["verdict"]), ("hit", other["hit"]),
                            ("reply_digest", _blake(str(other["reply"])))):  # fmt: skip
            if row[name] != value:
                found.append(
                    f"{row['model']}, {row['measure']}, {row['prompt'][:60]!r}: {name} {row[name]} "
                    f"then, {value} now"
                )
                break
    return Replayed(str(bundle.run["id"]), not found, tuple(found[:20]), {"rows": met})


def verdicts_of_run(store: Store, run: Run) -> list[dict[str, Any]]:
    """Every verdict of a search, as a bundle has them."""
    return list(_verdicts(store, run, False))


def with_notes(found: Replayed, notes: Sequence[str]) -> Replayed:
    """The same with what else is otherwise here."""
    return replace(found, notes=tuple(notes))


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["mode"], line["mask"], line["prompt"]


def _figures(rate: Mapping[str, Any] | None) -> str:
    return "none" if rate is None else f"{rate['value']:.4f} of {rate['n']}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else f"{text[:119]}…"
