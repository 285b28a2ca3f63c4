"""What a user asks of a search: everything that resuming it in another process needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dapa.core.records import SettingError
from dapa.core.settings import check_seed
from dapa.prompts.format import PromptFormat
from dapa.search.algorithms.questions import algorithms
from dapa.search.engine.rules import SearchRules
from dapa.search.priors import NEED_ONE, priors

DEFAULT_ALGORITHM = "bisect"


@dataclass(frozen=True)
class SearchSettings(SearchRules):
    """The driver's rules, and beside them units, prompts and their format."""

    algorithm: str = DEFAULT_ALGORITHM
    kind: str = "gate"
    """Kind of unit to transplant."""
    blocks: int | None = None
    """Into how many blocks of neurons each gate is cut; None is 8 for the hierarchical search, and
    whole sites for all others."""
    prior: str | None = None
    """The ranking that `weighted` and `top-k` follow; None takes mask gradients, or divergence
    where those are not defined."""
    max_new_tokens: int = 48
    prompt_limit: int | None = None
    """Search prompts at most, sampled by category; None takes all."""
    screen: bool = True
    """Order prompts and candidates by refusal log-odds; they never decide."""
    canonical: bool | None = None
    """Judge the result once more in batches of one shape; None does so where a reply can depend on
    the batch, as in bfloat16."""
    prompts: str | None = None
    """A bundled set's name or a file; None is the pair's own."""
    prompt_column: str | None = None
    """The prompts' column in those files, where its name does not tell."""
    harmless: str | None = None
    """The same of harmless prompts, for the limit on KL."""
    whose: str = "teacher"
    mode: str = "template"
    system: str = ""
    pair: Mapping[str, Any] = field(default_factory=dict)
    """The pair's spec, for resuming from another process."""

    def __post_init__(self) -> None:
        """SettingError for what cannot be searched with."""
        check_seed(self.seed)
        if self.algorithm not in algorithms:
            algorithms[self.algorithm]  # raises, naming the choices
        if self.prior is not None:
            priors[self.prior]
            if self.algorithm not in NEED_ONE:
                raise SettingError(
                    f"{self.algorithm} reads no prior; choose the algorithm {' or '.join(NEED_ONE)}"
                )
        if self.blocks is not None and not 1 <= self.blocks <= 4096:
            raise SettingError(f"{self.blocks} blocks of neurons; choose 1 to 4096")
        if self.prompt_limit is not None and self.prompt_limit < 1:
            raise SettingError(f"prompt limit is {self.prompt_limit}; choose 1 or more")
        if not 1 <= self.max_new_tokens <= 8192:
            raise SettingError(f"max new tokens is {self.max_new_tokens}; choose 1 to 8192")
        super().__post_init__()

    def format(self) -> PromptFormat:
        """The prompts' format."""
        return PromptFormat(self.mode, self.whose, self.system)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SearchSettings:
        """Read a stored run's settings; unknown keys of other versions are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in body.items() if key in known})
