"""What an evaluation is told, and which prompts each of its measures asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dapa.core.records import Mask, Prompt, SettingError
from dapa.core.settings import setting
from dapa.measure.wraps import wraps as all_wraps
from dapa.prompts.sets import PromptSet
from dapa.prompts.settings import PromptSettings

Purpose = Literal["dsr", "dsr_search", "over_refusal", "borderline", "skill"]
ROLES: Mapping[Purpose, str] = {
    "dsr": "harmful",
    "dsr_search": "harmful",
    "over_refusal": "harmless",
    "borderline": "borderline",
    "skill": "skill",
}
"""What each measure asks of which set."""
SETS: Mapping[str, str] = {
    "dsr": "harmful (held-out part)",
    "dsr_search": "harmful, search set",
    "over_refusal": "harmless twins",
    "borderline": "borderline harmless",
    "skill": "skill",
}
"""The same for people."""
Parts = tuple[Sequence[Prompt], Sequence[Prompt]]
"""What a search chose by, and what it left out."""
Find = Callable[[str | None, str], PromptSet | None]
"""(a file, a set's name or None, role) -> prompts; None where nothing stands for the role."""


def _wraps() -> Mapping[str, str]:
    return all_wraps.titles


def _named(judge: str, options: tuple[str, ...]) -> str:
    """A judge for people: the last part of its checkpoint's name, if it has one."""
    given = dict(option.partition("=")[::2] for option in options)
    return given.get("checkpoint", "").strip().rstrip("/").rpartition("/")[2] or judge


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(PromptSettings):
    """Everything that a user sets about an evaluation, and all that resuming it needs."""

    mask: str = ""
    """The patched model's mask, as `Mask.key`."""
    run: str = setting(
        "", "the search that chose the mask",
        "The search that found the mask: its held-out prompts are asked (and its set, if no layers "
        "are named).",
        form=False, metavar="ID", most=200,
    )  # fmt: skip
    """A stored search; empty where none is known to have chosen the mask."""
    saved: Mapping[str, str] = field(default_factory=dict)
    """Further columns: name -> mask's key."""
    borderline: str | None = setting(
        None, "borderline prompts", "Borderline harmless prompts.", form=False, file=True
    )
    skill: str | None = setting(
        None, "skill prompts", "Prompts with exact answers, in a column answer.", form=False,
        file=True,
    )  # fmt: skip
    sets: tuple[str, ...] = setting(
        tuple(ROLES),
        "prompt sets",
        f"What is asked: some of {', '.join(ROLES)}, by comma.",
        choices=lambda: SETS,
        preset=("dsr", "over_refusal", "borderline", "skill"),
        row=1,
        told=lambda sets: ", ".join(SETS[name] for name in sets),
    )
    wraps: tuple[str, ...] = setting(
        (),
        "the harmful ones again, wrapped",
        "Robustness wraps: all, none, or prefill,role-play,suppression.",
        choices=_wraps,
        row=2,
        told=lambda names: f"{len(names)} wraps" if names else "",
    )
    text: str | None = setting(
        None,
        "text for perplexity",
        "Text for perplexity, such as WikiText-2's test file (txt, parquet); none skips.",
        form=False,
        file=True,
    )
    """None is the bundled text that suits the pair."""
    perplexity: bool = setting(True, "perplexity of a text", "Perplexity of a text.", row=3)
    kl: bool = setting(
        True, "KL to the student on harmless prompts", "KL to the student on harmless prompts.",
        row=3,
    )  # fmt: skip
    fluency: bool = setting(
        False,
        "incoherent, too: replies that surprise the student more than its own",
        "Incoherent too: what surprises the student more than its own replies.",
        row=3,
    )
    judge: str = setting("rules", "judge", "Who judges; see `dapa judge`.", row=60)
    judge_options: tuple[str, ...] = setting(
        (),
        "the judge's options",
        "A judge's option, such as url=http://127.0.0.1:8000/v1, again for each.",
        flag="--option",
        metavar="KEY=VALUE",
        lines=4,
        form=False,
    )
    tasks: tuple[str, ...] = setting(
        (),
        "lm-eval tasks (needs the lm_eval package)",
        "lm-eval tasks, as in arc_easy,hellaswag; needs lm_eval.",
        most=100,
        placeholder="arc_easy, hellaswag",
        row=70,
        told=" · ".join,
    )
    task_path: str | None = setting(
        None, "folder of further task files", "Folder of further task files.", form=False, file=True
    )
    task_limit: int | None = setting(
        None, "task limit", "Items of a task at most.", low=1, form=False
    )
    harm: str | None = setting(
        None,
        "harm, a second axis beside refusal",
        "Harm as a second axis: classifier, causal or endpoint.",
        form=False,
    )
    harm_options: tuple[str, ...] = setting(
        (),
        "the harm judge's options",
        "An option of the harm judge, again for each.",
        flag="--harm-option",
        metavar="KEY=VALUE",
        lines=4,
        form=False,
    )
    pair: Mapping[str, Any] = field(default_factory=dict)
    """The pair's spec, for resuming from another process."""

    def sentence(self) -> str:
        """The settings as one line."""
        own = "own prompts" if self.prompts or self.harmless else ""
        harm = f"harm by {_named(self.harm, self.harm_options)}" if self.harm else ""
        judge = f"judged by {_named(self.judge, self.judge_options)}"
        return " · ".join(filter(None, (super().sentence(), own, judge, harm, "greedy")))

    def check(self) -> None:
        """Masks can be read, and something is asked."""
        if not self.sets:
            raise SettingError("no prompt set is chosen; choose at least one")
        Mask.parse(self.mask)
        for key in self.saved.values():
            Mask.parse(key)


def evaluation_sets(
    find: Find,
    settings: EvaluationSettings,
    bundled: bool = True,
    divide: Callable[[PromptSet], Parts | None] = lambda prompts: None,
) -> dict[Purpose, tuple[Prompt, ...]]:
    """What each measure asks.

    The harmful set is divided as the search divided it that chose the mask, where one is known;
    else, as every other set, by its own split column. The held-out part serves, the harmful one's
    search part stands apart as `dsr_search`. A set without either is asked whole, and its prompts
    bear no split: some may have chosen the mask. Where the user gives a file, the
    bundled sets of other roles stay out: columns without data stay empty.

    Args:
        find: Reads a set.
        settings: Which sets and files, how many prompts of each, and the seed.
        bundled: Without it, no bundled set is asked at all.
        divide: The parts into which the search divided a harmful set; None where it knows none.
    """
    given: dict[str, str | None] = {
        "harmful": settings.prompts,
        "harmless": settings.harmless,
        "borderline": settings.borderline,
        "skill": settings.skill,
    }
    alone = any(source is not None for source in given.values()) or not bundled
    sets: dict[Purpose, tuple[Prompt, ...]] = {}
    for purpose, role in ROLES.items():
        source = given[role]
        if purpose not in settings.sets or (source is None and alone):
            continue
        found = find(source, role)
        if found is None:
            continue
        if role == "harmful" and (parts := divide(found)) is not None:
            own = [replace(p, split="search") for p in parts[0]]
            found = replace(
                found, prompts=(*own, *(replace(p, split="held_out") for p in parts[1]))
            )
        held_out = [p for p in found.prompts if p.split == "held_out"]
        if purpose == "dsr_search":
            chosen = [p for p in found.prompts if p.split != "held_out"] if held_out else []
        else:
            chosen = held_out or list(found.prompts)
        if chosen:
            part = replace(found, prompts=tuple(chosen))
            if settings.prompt_limit is not None:
                part = part.sample(settings.prompt_limit, settings.seed)
            sets[purpose] = part.prompts
    return sets
