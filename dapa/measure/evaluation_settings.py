"""What an evaluation is told, and which prompts each of its measures asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dapa.core.records import Mask, Prompt, SettingError
from dapa.measure.evaluation import Purpose
from dapa.measure.wraps import wraps as all_wraps
from dapa.model.decode.sampling import check_seed
from dapa.model.template import PromptFormat
from dapa.prompts.sets import PromptSet

ROLES: Mapping[Purpose, str] = {
    "dsr": "harmful",
    "dsr_search": "harmful",
    "over_refusal": "harmless",
    "borderline": "borderline",
    "skill": "skill",
}
"""What each measure asks of which set."""
Find = Callable[[str | None, str], PromptSet | None]
"""(a file, a set's name or None, role) -> prompts; None where nothing stands for the role."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that a user sets about an evaluation, and all that resuming it needs."""

    mask: str = ""
    """The patched model's mask, as `Mask.key`."""
    saved: Mapping[str, str] = field(default_factory=dict)
    """Further columns: name -> mask's key."""
    prompts: str | None = None
    """Harmful prompts: a file or a set's name; None is the pair's own."""
    harmless: str | None = None
    borderline: str | None = None
    skill: str | None = None
    """Prompts with exact answers."""
    prompt_limit: int | None = None
    """Prompts of a set at most, sampled by category and seed."""
    seed: int = 0
    wraps: tuple[str, ...] = ()
    text: str | None = None
    """A text file for perplexity; None is the bundled text that suits the pair, "none" no text."""
    kl: bool = True
    judge: str = "rules"
    judge_options: tuple[str, ...] = ()
    harm: str | None = None
    harm_options: tuple[str, ...] = ()
    fluency: bool = False
    """Call replies incoherent, too, that surprise the student more than its own do."""
    max_new_tokens: int = 64
    whose: str = "teacher"
    mode: str = "template"
    system: str = ""
    tasks: tuple[str, ...] = ()
    """lm-eval tasks."""
    task_path: str | None = None
    """Folder of further task files."""
    task_limit: int | None = None
    pair: Mapping[str, Any] = field(default_factory=dict)
    """The pair's spec, for resuming from another process."""

    def __post_init__(self) -> None:
        """SettingError for what cannot be evaluated."""
        check_seed(self.seed)
        for name in ("prompt_limit", "task_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name.replace('_', ' ')} is {value}; choose 1 or more")
        if not 1 <= self.max_new_tokens <= 8192:
            raise SettingError(f"max new tokens is {self.max_new_tokens}; choose 1 to 8192")
        for wrap in self.wraps:
            all_wraps[wrap]
        Mask.parse(self.mask)
        for key in self.saved.values():
            Mask.parse(key)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> EvaluationSettings:
        """Read a stored run's settings; unknown keys of other versions are left out."""
        known = {f.name for f in fields(cls)}
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items() if k in known}
        return cls(**kept)

    def format(self) -> PromptFormat:
        """The prompts' format."""
        return PromptFormat(self.mode, self.whose, self.system)  # type: ignore[arg-type]


def evaluation_sets(
    find: Find, settings: EvaluationSettings, bundled: bool = True
) -> dict[Purpose, tuple[Prompt, ...]]:
    """What each measure asks.

    Of a set with a split column the held-out part serves; the harmful one's search part stands
    apart as `dsr_search`. A set without one is asked whole. Where the user gives a file, the
    bundled sets of other roles stay out: columns without data stay empty.

    Args:
        find: Reads a set.
        settings: Which files, how many prompts of each, and the seed.
        bundled: Without it, no bundled set is asked at all.
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
        if source is None and alone:
            continue
        found = find(source, role)
        if found is None:
            continue
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
