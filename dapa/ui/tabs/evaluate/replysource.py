"""Where the replies that judges are compared on come from: the chat, a file, an evaluation."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from dapa.core.records import Label, PromptError, SettingError
from dapa.ui.dashboard import Dashboard, one_of, text
from dapa.workbench import KIND, Written, answer_text, read_labelled, read_replies

RULED, FILE = "ruled", "file"
ALWAYS = (("replies that people ruled on in the chat", RULED), ("an uploaded file", FILE))
"""(title, value) of the sources that need no stored run."""
_RUN = "run:"
_RUNS = 100
"""The newest evaluations that are offered."""


def choices(dashboard: Dashboard) -> list[tuple[str, str]]:
    """(title, value) of every source there is by now."""
    runs = [run for run in dashboard.workbench.store.runs() if run.kind == KIND][:_RUNS]
    return [
        *ALWAYS,
        *(
            (f"{run.title}, {time.strftime('%d %b %H:%M', time.localtime(run.created))}, {run.id}",
             f"{_RUN}{run.id}")
            for run in runs
        ),
    ]  # fmt: skip


def replies(dashboard: Dashboard, source: Any, given: Any, human: Any) -> tuple[Written, ...]:
    """The replies of one source, as `choices` names it; never none.

    Args:
        dashboard: Whose store is read.
        source: A value out of `choices`.
        given: The path of an uploaded file, if any.
        human: The file's column with a person's labels; empty where its name tells, or it has none.

    Raises:
        SettingError: No such source, or nothing in it, with what to do.
        PromptError: The file cannot be read.
    """
    chosen = one_of(source, "source of replies", [value for _, value in choices(dashboard)])
    if chosen == RULED:
        found = dashboard.workbench.ruled()
        missing = "nobody has ruled on a reply yet; rule on replies in the chat, or upload a file"
    elif chosen == FILE:
        if not isinstance(given, str) or not given:
            raise SettingError("no file is here yet; upload one with columns prompt and reply")
        column = text(human or "", "the column's name", 200).strip()
        found = of_file(Path(given), column)
        missing = "the file holds no replies; add some rows"
    else:
        found = of_run(dashboard, chosen.removeprefix(_RUN))
        missing = "this evaluation holds no replies to harmful or harmless prompts; take another"
    if not found:
        raise SettingError(missing)
    return found


def of_file(path: Path, column: str) -> tuple[Written, ...]:
    """What a file holds, with people's labels: of the column named, or found as the benchmark does.

    Both buttons so read one file alike. Words that are no label, partial too, count as none.
    """
    found = read_replies(path, column or None)
    if column:
        return found
    try:
        people = [one.people for one in read_labelled(path)]
    except PromptError:
        return found
    words = [Label(word) if word in list(Label) else None for word in people]
    return tuple(replace(row, human=word) for row, word in zip(found, words, strict=True))


def of_run(dashboard: Dashboard, run_id: str) -> tuple[Written, ...]:
    """What a stored evaluation's models replied, each reply once, with what people ruled on it.

    Skill questions stay out: they are about right answers, which no judge rules on.
    """
    people = {(row.prompt, row.reply): row.human for row in dashboard.workbench.ruled()}
    rows = dashboard.workbench.evaluation_replies(run_id)
    pairs = dict.fromkeys(
        (r["prompt"], answer_text(r["reply"], bool(r.get("inside")), str(r.get("begun") or "")))
        for r in rows
        if r["measure"] != "skill"
    )
    return tuple(Written(*pair, people.get(pair)) for pair in pairs)
