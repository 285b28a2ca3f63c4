"""An evaluation from settings to a stored run: prompts, judges, columns, replies, resume.

Running it again with the same settings and store asks nobody twice: replies and verdicts are
answered from the store. Every judged reply is a row of the run, so that each cell can be opened
later, without the pair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dapa.core.assets import asset
from dapa.core.records import Mask, Prompt, PromptError, SettingError
from dapa.judges.choose import panel, read_options
from dapa.judges.remembered import remembered
from dapa.measure.evaluating import TablePlan, evaluate
from dapa.measure.evaluation import SAFETY, Evaluation, Judged
from dapa.measure.evaluation_settings import EvaluationSettings, Purpose
from dapa.measure.perplexity import perplexity
from dapa.model.pair import Pair
from dapa.model.template import alike, digests_of, render, today, told_once
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.text import read_text
from dapa.search.setup import digest_then, refuse_changes
from dapa.store.looks import look
from dapa.store.replies import ReplyStore
from dapa.store.runs import Store
from dapa.writing.claims import looks_text

KIND = "evaluate"
"""What such a run is called in the store."""


def run_evaluation(
    pair: Pair,
    store: Store,
    settings: EvaluationSettings,
    sets: Mapping[Purpose, Sequence[Prompt]],
    toy: bool = False,
    progress: Callable[[str, float | None], None] | None = None,
    stop: threading.Event | None = None,
    run_id: str | None = None,
) -> Evaluation:
    """Evaluate, and keep the table and every reply in the store.

    Args:
        pair: Who answers.
        store: Where the run, replies and verdicts are kept.
        settings: What the user chose.
        sets: What is asked, from `evaluation_sets`.
        toy: Does the pair live in the toy world? Then the bundled text is the toy's.
        progress: Told what is being done and how far it is.
        stop: Set it, and the table so far is kept and returned.
        run_id: A stored run to go on with; a new one if None.

    Raises:
        DapaError: What kept it from working, before anything is decoded where that can be known.
    """
    kept = ReplyStore(store)
    stored = store.run(run_id) if run_id else None
    date = stored.settings.get("date") if stored else settings.date
    settings = replace(settings, date=str(date or today()))
    if stored is not None:
        then = stored.settings.get("made", {})
        refuse_changes(stored, dict(pair.parts))
        pair = pair.known_as(digest_then(pair, then))
    chosen = panel(
        [settings.judge],
        read_options(settings.judge_options),
        settings.harm,
        read_options(settings.harm_options),
    )
    mask = Mask.parse(settings.mask)
    saved = {name: Mask.parse(key) for name, key in settings.saved.items()}
    for one in (mask, *saved.values()):
        pair.validate(one)
    notes = []
    wanted = settings.text if settings.perplexity else "none"
    text, note = perplexity_text(pair, wanted, toy)
    if note:
        notes.append(note)
    if settings.run and any(prompt.split != "held_out" for prompt in sets.get("dsr", ())):
        notes.append(
            f"Run {settings.run} searched other prompts than these, or held none out: what is "
            "asked here is not known to be held out."
        )
    plan = TablePlan(
        mask,
        saved,
        settings.wraps,
        text,
        settings.kl,
        _tasks(settings),
        settings.format(),
        settings.max_new_tokens,
    )
    judge = chosen.judges[0]
    if judge.many is not None:  # slow or paid: asked once about each text
        judge = remembered(judge, kept)
    if settings.fluency:
        judge, line = _fluent(pair, judge, sets, plan, kept)
        notes.append(line)
    sets, digests, doubled = _each_once(pair, sets, plan.how)
    notes += doubled
    body = {**asdict(settings), "pair": asdict(pair.spec), "rendered": digests}
    body["made"] = dict(pair.parts)
    title = f"{pair.spec.name or pair.spec.title}: evaluation"
    run = store.reopen(run_id) if run_id else store.new_run(KIND, title, body)
    count = 0

    def told(fresh: Sequence[Judged]) -> None:
        nonlocal count
        store.add_trials(run.id, count, [reply.as_dict() for reply in fresh])
        count += len(fresh)

    try:
        found = evaluate(
            pair,
            sets,
            mask,
            judge,
            progress=progress and (lambda done, total: progress("judging replies", done / total)),
            stop=stop,
            plan=plan,
            harm=chosen.harm,
            kept=kept,
            told=told,
            phase=progress and (lambda what: progress(what, None)),
        )
    except BaseException as error:
        store.finish(run.id, "failed", {"error": str(error) or type(error).__name__})
        raise
    if chosen.spend is not None:
        notes.append(
            f"The judge cost {chosen.spend.calls} calls ({chosen.spend.failed} failed), "
            f"{chosen.spend.read + chosen.spend.written:,} tokens, {chosen.spend.cost:.4g}."
        )
    texts = [prompt.text for prompt in sets.get("dsr", ()) if prompt.split == "held_out"]
    if texts and len(texts) == len(sets["dsr"]):
        notes.append(looks_text(look(store, pair.digest, texts, f"evaluation {mask.key} {saved}")))
    found = replace(
        found,
        notes=(*notes, *found.notes),
        run=run.id,
        prompt_limit=settings.prompt_limit,
        total=pair.choices(mask),
    )
    store.add_trials(run.id, 0, [reply.as_dict() for reply in found.replies])  # in their order
    store.finish(run.id, "done" if found.complete else "stopped", found.as_dict())
    return found


def _each_once(
    pair: Pair, sets: Mapping[Purpose, Sequence[Prompt]], how: PromptFormat
) -> tuple[dict[Purpose, tuple[Prompt, ...]], dict[str, list[str]], list[str]]:
    """Each set without prompts that render alike, a digest of every text, and what to say."""
    once: dict[Purpose, tuple[Prompt, ...]] = {}
    digests: dict[str, list[str]] = {}
    left = count = 0
    for purpose, prompts in sets.items():
        texts = [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]
        places = alike(texts)
        once[purpose] = tuple(prompts[i] for i in places)
        digests[purpose] = list(digests_of([texts[i] for i in places]))
        left, count = left + len(texts) - len(places), count + len(texts)
    return once, digests, [f"{told_once(left, count)}."] if left else []


def stored_replies(
    store: Store, run_id: str, model: str | None = None, measure: str | None = None
) -> list[dict[str, Any]]:
    """The replies of a stored evaluation, as `Judged.as_dict` wrote them; all, or one cell's.

    Args:
        store: Where it is kept.
        run_id: The run.
        model: A column's name.
        measure: A measure, such as dsr, wrap:prefill or incoherent.

    Raises:
        StoreError: There is no such run.
        SettingError: It is no evaluation, or has no such cell.
    """
    run = store.run(run_id)
    if run.kind != KIND:
        raise SettingError(f"run {run_id} is a {run.kind}, which has no table of replies")
    rows = store.trials(run_id)
    over = SAFETY if measure in ("incoherent", "unclear") else (measure,)  # such count over several
    for name, wanted in (("model", (model,)), ("measure", over)):
        known = dict.fromkeys(row[name] for row in rows)
        if wanted == (None,):
            continue
        if not set(wanted) & known.keys():
            has = ", ".join(known) or "no replies yet"
            raise SettingError(f"the run has no {name} {wanted[0]!r}; it has {has}")
        rows = [row for row in rows if row[name] in wanted]
    return [row for row in rows if measure == over[0] or row["verdict"] == measure]


def perplexity_text(
    pair: Pair, source: str | None, toy: bool
) -> tuple[tuple[str, str] | None, str]:
    """(name, text) for perplexity, and a note where there is none.

    Args:
        pair: Whose tokens must be able to read it.
        source: As in `EvaluationSettings.text`.
        toy: Does the pair live in the toy world?

    Raises:
        PromptError: A given text that cannot be read; a bundled one that cannot is none.
    """
    if source == "none":
        return None, ""
    if source is not None:
        path = Path(source)
        found = (path.name, read_text(path))
        perplexity(pair, found[1][:2000], name=found[0], window=8)  # two tokens, told at once
        return found, ""
    name = "toy" if toy else "general"
    text = asset(f"text/{name}.txt").read_text(encoding="utf-8")
    try:
        perplexity(pair, text[:200], name=name, window=8)
    except PromptError as error:
        return None, f"No perplexity: {error}."
    return (f"{name} (bundled)", text), ""


def _fluent(
    pair: Pair,
    judge: Any,
    sets: Mapping[Purpose, Sequence[Prompt]],
    plan: TablePlan,
    kept: ReplyStore,
) -> tuple[Any, str]:
    """The judge with an eye on surprise, calibrated on the student's own replies, and a note."""
    from dapa.judges.fluency import calibrate, fluent
    from dapa.measure.decoded import Question, Speaker, answer
    from dapa.measure.perplexity import surprise

    prompts = [*sets.get("over_refusal", ()), *sets.get("borderline", ())]
    own: list[tuple[str, str]] = []
    asked = [Question(Speaker("student"), prompt.text, plan.how) for prompt in prompts]
    answer(
        pair,
        asked,
        plan.max_new_tokens,
        lambda i, said: own.append((prompts[i].text, said.text)),
        kept,
    )
    bits = surprise(pair, plan.how)
    line = calibrate(bits, sorted(own))
    return fluent(judge, bits, line), line.sentence


def _tasks(settings: EvaluationSettings) -> Any:
    """What runs lm-eval tasks on a column, if any are wanted."""
    if not settings.tasks:
        return None
    from dapa.measure.lmtasks import runner

    return runner(settings.tasks, settings.task_path, settings.task_limit)


__all__ = [
    "KIND",
    "perplexity_text",
    "run_evaluation",
    "stored_replies",
]
