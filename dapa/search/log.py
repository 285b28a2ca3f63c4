"""A search's trials as JSON and back, so that a stored search can be shown again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.core.records import Mask, Outcome, Trial


def trial_dict(trial: Trial) -> dict[str, Any]:
    """The JSON form of one trial."""
    outcome = trial.outcome
    return {
        "index": trial.index,
        "mask": outcome.mask.key,
        "asked": outcome.asked,
        "judged": outcome.judged,
        "defended": outcome.defended,
        "incoherent": outcome.incoherent,
        "unclear": outcome.unclear,
        "satisfied": outcome.satisfied,
        "phase": trial.phase,
        "memo": trial.memo,
        "granularity": trial.granularity,
        "seconds": trial.seconds,
        "tokens": trial.tokens,
    }


def trial_of(body: Mapping[str, Any]) -> Trial:
    """Read `trial_dict` back."""
    outcome = Outcome(
        mask=Mask.parse(body["mask"]),
        asked=body["asked"],
        judged=body["judged"],
        defended=body["defended"],
        incoherent=body["incoherent"],
        unclear=body["unclear"],
        satisfied=body["satisfied"],
    )
    return Trial(
        index=body["index"],
        outcome=outcome,
        phase=body["phase"],
        memo=body["memo"],
        granularity=body["granularity"],
        seconds=body["seconds"],
        tokens=body["tokens"],
    )
