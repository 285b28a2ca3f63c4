"""What a stored run was made of, so that resuming never mixes it with something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dapa.core.records import Prompt, StoreError
from dapa.judges.base import judges
from dapa.model.pair import Pair
from dapa.store.database import Run, digest


def made_of(pair: Pair, prompts: Sequence[Prompt]) -> dict[str, str]:
    """What a run's verdicts hang on, each as a short name that changes with it."""
    return {
        "weights": pair.digest,
        "prompts": digest([prompt.text for prompt in prompts]),
        "judge": ", ".join(judges[name]().name for name in ("opening", "rules")),
    }


def refuse_changes(run: Run, made: Mapping[str, str]) -> None:
    """StoreError where resuming would replace a run's trials by those of something else."""
    for what, before in run.settings.get("made", {}).items():
        if made.get(what, before) != before:
            raise StoreError(
                f"run {run.id} cannot be resumed: its {what} changed since ({before[:24]} then, "
                f"{made[what][:24]} now); start a new search, the old run stays as it is"
            )
