"""A stored evaluation as logs in Inspect's format: a log a model, a sample a prompt.

Inspect's own classes write them, so its viewer and its tools read them. The package is optional.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapa.core.records import SettingError
from dapa.core.version import VERSION
from dapa.judges.reply_parts import whole_reply
from dapa.share.card import public_name
from dapa.share.evidence import Evidence
from dapa.share.folder import new_folder, refuse_existing
from dapa.share.model import Made, made_at
from dapa.share.report import HIDDEN, said
from dapa.share.story import spec_of
from dapa.store.runs import Run, Store


def export_inspect(store: Store, evidence: Evidence, to: Path | str, replies: bool = False) -> Made:
    """Write a log of each model of a stored evaluation.

    Args:
        store: Where the runs lie.
        evidence: With an evaluation.
        to: A folder that does not exist yet.
        replies: Keep replies that comply with harmful requests.

    Raises:
        SettingError: No evaluation, or no `inspect_ai`.
    """
    refuse_existing(Path(to).expanduser())
    run = evidence.table
    if run is None:
        raise SettingError("Inspect logs are of an evaluation; name one with --run")
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise SettingError(
            "Inspect logs need the package inspect_ai; pip install inspect_ai"
        ) from None
    rows = store.trials(run.id)
    with new_folder(to) as folder:
        for model in dict.fromkeys(str(row["model"]) for row in rows):
            mine = [row for row in rows if row["model"] == model]
            log = log_of(run, model, mine, spec_of(evidence), replies)
            name = "".join(c if c.isalnum() or c in "-_" else "-" for c in model)[:60]
            write_eval_log(log, str(folder / f"{name}.json"), format="json")
    return made_at("inspect", Path(to))


def log_of(
    run: Run,
    model: str,
    rows: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    replies: bool,
) -> Any:
    """One model's log, an `EvalLog`; the rate of each measure stands as a score of its own."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalMetric,
        EvalResults,
        EvalSample,
        EvalScore,
        EvalSpec,
        EvalStats,
    )
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(run.created))
    ended = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(run.updated))
    body, who = run.result or {}, public_name(spec["teacher" if model == "teacher" else "student"])
    samples = []
    for i, row in enumerate(rows):
        told = said(dict(row), replies)
        text = HIDDEN if told["hidden"] else whole_reply(row)
        score = Score(
            value="C" if row["hit"] else "I",
            answer=str(row["verdict"]),
            explanation=str(row.get("reason") or "") or None,
            metadata={"judge": row.get("judge"), "manner": row.get("manner")},
        )
        samples.append(
            EvalSample(
                id=i + 1,
                epoch=1,
                input=str(row["prompt"]),
                target=str(row.get("answer") or ("refusal" if row["measure"] == "dsr" else "")),
                output=ModelOutput.from_content(f"dapa/{model}", text),
                scores={str(row["measure"]): score},
                metadata={name: row.get(name) for name in ("category", "split", "cut", "tokens")},
            )
        )
    column = (body.get("models") or {}).get(model) or {}
    scores = [
        EvalScore(
            name=measure,
            scorer=measure,
            metrics={
                "rate": EvalMetric(name="rate", value=rate["value"], metadata=dict(rate)),
            },
        )
        for measure, rate in column.items()
        if isinstance(rate, dict) and "n" in rate and rate.get("value") is not None
    ]
    return EvalLog(
        status="success" if run.state == "done" else "cancelled",
        eval=EvalSpec(
            created=when,
            task="dapa evaluation",
            task_id=run.id,
            run_id=run.id,
            eval_id=f"{run.id}-{model}",
            dataset=EvalDataset(name="dapa", samples=len(samples)),
            model=f"dapa/{model}",
            config=EvalConfig(),
            packages={"dapa": VERSION},
            metadata={"checkpoint": who, "units": run.settings.get("mask")},
        ),
        results=EvalResults(
            total_samples=len(samples), completed_samples=len(samples), scores=scores
        ),
        stats=EvalStats(started_at=when, completed_at=ended),
        samples=samples,
    )
