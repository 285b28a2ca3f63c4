"""A stored evaluation as the table that it was: from its rows, without a pair, asking nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.core.records import Label, Manner, Mask, Prompt, Rate, SettingError, StoreError, Verdict
from dapa.judges.harm import Harm
from dapa.measure.decoded import Speaker
from dapa.measure.evaluation import Evaluation, Judged
from dapa.measure.perplexity import Perplexity
from dapa.measure.run_evaluation import KIND
from dapa.measure.utility import Drift
from dapa.store.runs import Store

_NAN = float("nan")


def stored_evaluation(store: Store, run_id: str) -> Evaluation:
    """The table of a stored evaluation, with every reply.

    Args:
        store: Where it is kept.
        run_id: The run.

    Raises:
        StoreError: There is no such run, or it cannot be read.
        SettingError: It is no evaluation, or has no table.
    """
    run = store.run(run_id)
    told = run.result or {}
    if run.kind != KIND or not told.get("models"):
        raise SettingError(f"run {run_id} has no table; resume it, or evaluate again")
    try:
        speakers = tuple(
            Speaker(name, one["role"], Mask.parse(one["mask"]))
            for name, one in told["columns"].items()
        )
        models = told["models"]
        texts = {m: Perplexity(**c["perplexity"]) for m, c in models.items() if c.get("perplexity")}
        return Evaluation(
            tuple(map(_judged, store.trials(run_id))),
            Mask.parse(str(run.settings.get("mask") or "")),
            bool(told["complete"]),
            speakers,
            texts,
            {model: _drift(c["kl"]) for model, c in models.items() if c.get("kl")},
            {model: c["tasks"] for model, c in models.items() if c.get("tasks")},
            told["judge"],
            tuple(told["notes"]),
            run.id,
            told["max_new_tokens"],
            run.settings.get("prompt_limit"),
            int(told.get("units_in_all") or 0),  # what was stored before it was told lacks it
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"run {run_id} was stored by another version and cannot be opened as a table "
            f"({type(error).__name__}); evaluate again, which decodes nothing twice"
        ) from error


def _judged(row: Mapping[str, Any]) -> Judged:
    """One row, as `Judged.as_dict` wrote it."""
    prompt = Prompt(row["prompt"], row["category"], row["split"], answer=row["answer"])
    verdict = Verdict(
        Label(row["verdict"]),
        row["judge"],
        tuple(row["span"]) if row["span"] else None,
        row["reason"],
        manner=Manner(row["manner"]) if row["manner"] else None,
        cut=row["cut"],
    )
    harm = Harm(**row["harm"]) if row["harm"] else None
    said = row["reply"], verdict, row["tokens"]
    start = str(row.get("begun") or ""), bool(row.get("inside"))  # older rows tell none
    return Judged(row["model"], row["measure"], prompt, *said, harm, row["cut"], *start)


def _drift(told: Mapping[str, Any]) -> Drift:
    """KL, as the table's column has it: the value past the first position with the rest beside."""

    def rate(one: Mapping[str, Any]) -> Rate:
        value, low, high = (_NAN if one[k] is None else one[k] for k in ("value", "low", "high"))
        return Rate(value, low, high, one["n"])

    return Drift(rate(told), rate(told["first"]), told["dropped"])
