"""A bundle beside its replay: is all that was decided the same again, and if not, what is not.

Nothing is run here: the workbench does the run again, and this holds what came of it against what
was. A difference is told in plain words, what matters most first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dapa.core.records import SettingError
from dapa.share.bundle import Bundle, text_digest
from dapa.store.runs import Run


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
                            ("reply_digest", text_digest(str(other["reply"])))):  # fmt: skip
            if row[name] != value:
                found.append(
                    f"{row['model']}, {row['measure']}, {row['prompt'][:60]!r}: {name} {row[name]} "
                    f"then, {value} now"
                )
                break
    return Replayed(str(bundle.run["id"]), not found, tuple(found[:20]), {"rows": met})


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
