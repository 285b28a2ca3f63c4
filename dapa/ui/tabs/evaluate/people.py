"""Judges against people's labels, as HTML: the benchmark of the agreement card.

The same benchmark as `python -m dapa judge --benchmark`, on an uploaded file. Texts of replies are
folded, since they may be harmful.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import Label, Rate, SettingError, Verdict
from dapa.ui.dashboard import Dashboard, text
from dapa.ui.parts import badge, note, rate, table, title
from dapa.ui.tabs.evaluate import judging
from dapa.ui.tabs.evaluate.replysource import FILE
from dapa.ui.tasks import Progress
from dapa.workbench import CHUNK, Benchmark, Halted, Labelled, benchmark, read_labelled, titled
from dapa.writing.numbers import THIN

_SHOWN = 100
"""Confusions of a judge that are listed; the CSV has all."""


@dataclass(frozen=True)
class Benched:
    """The scores, and the replies that they are of."""

    found: Benchmark
    written: tuple[Labelled, ...]

    def as_table(self) -> tuple[list[str], list[list[Any]]]:
        """(head, rows) for a CSV: a row a judge and part, then a row a confusion."""
        ends = ("", "_low", "_high", "_n")
        names = ("agreement", "recall", "precision")
        head = ["part", "judge", *(f"{name}{end}" for name in names for end in ends)]
        head += ["row", "model", "people", "said", "reason"]
        rows: list[list[Any]] = []
        for score in self.found.scores:
            cells = [v for r in (score.agreement, score.recall, score.precision) for v in _ends(r)]
            rows.append([score.part, score.judge, *cells, *[""] * 5])
        for one in self.found.confusions:
            told = [one.row + 1, one.model, one.people, one.said, one.reason]
            rows.append(["confusion", one.judge, *[""] * 12, *told])
        return head, rows


def _ends(value: Rate) -> tuple[Any, ...]:
    return (value.value, value.low, value.high, value.n) if value.n else ("", "", "", 0)


def labelled(
    dashboard: Dashboard, source: Any, given: Any, human: Any, judges: Any, *checkpoint: Any
) -> tuple[tuple[Labelled, ...], tuple[str, ...], tuple[str, ...]]:
    """(replies with people's labels, judges, their options) from anywhere, checked.

    Raises:
        SettingError: No file, no judge, or no such judge.
        PromptError: A file that cannot be read or has no labels.
    """
    if not isinstance(judges, list) or not judges:
        raise SettingError("no judge is chosen; choose at least one")
    if source != FILE or not isinstance(given, str) or not given:
        raise SettingError(
            "the benchmark needs a file of replies with people’s labels (prompt, reply, label, "
            "perhaps model); upload one"
        )
    column = text(human or "", "the column's name", 200).strip()
    written = read_labelled(Path(given), column or None)
    names, options = judging.chosen(dashboard, judges, *checkpoint)
    return written, names, options


def ask(
    dashboard: Dashboard, pairs: Sequence[tuple[str, str]], names: Sequence[str],
    options: Sequence[str], told: Progress, stop: threading.Event,
) -> dict[str, list[Verdict]]:  # fmt: skip
    """Every judge's word on every (prompt, reply); what they said before is not asked again.

    Raises:
        Halted: It was stopped.
    """
    told("preparing the judges", 0.0)
    judges = dashboard.workbench.panel(names, options).judges
    said: dict[str, list[Verdict]] = {}
    for number, one in enumerate(judges):
        kept, words = dashboard.workbench.remembering(one), said.setdefault(one.name, [])
        for start in range(0, len(pairs), CHUNK):
            if stop.is_set():
                raise Halted("stopped")
            told(f"asking {titled(one.name)}", (number + start / len(pairs)) / len(judges))
            words += kept.all(pairs[start : start + CHUNK])
    return said


def bench(
    dashboard: Dashboard, written: Sequence[Labelled], names: Sequence[str], options: Sequence[str],
    told: Progress, stop: threading.Event,
) -> Benched:  # fmt: skip
    """Ask the judges, and score them against people. Halted where it was stopped."""
    pairs = [(one.prompt, one.reply) for one in written]
    said = ask(dashboard, pairs, names, options, told, stop)
    return Benched(benchmark(written, said), tuple(written))


def draw(made: Benched) -> Html:
    """The table by model, what was left out, and each judge's confusions, folded."""
    found = made.found
    rows = [
        (
            "all, all models" if score.part == "all" else score.part,
            titled(score.judge),
            *map(_rate, (score.agreement, score.recall, score.precision)),
        )
        for score in found.scores
    ]
    line = (
        f"{found.n:,} replies that people call refusal, compliance, incoherent or unclear; "
        f"95{THIN}% Wilson intervals. Unclear and incoherent count as wrong where people said "
        "refusal or compliance."
    )
    head = title("Judges against people’s labels", line)
    names = ("replies", "judge", "agrees with people", "recall of refusals", "precision")
    folded = joined(_confusions(made, judge) for judge in found.judges)
    return head + table(names, rows) + _partial(found) + folded


def _rate(value: Rate) -> Html:
    return rate(value) if value.n else html('<span class="interval">none to count</span>')


def _partial(found: Benchmark) -> Html:
    """What judges say of replies that people call partial, which are in no rate."""
    if not found.partial:
        return html("")
    told = "; ".join(
        f"{titled(judge)}: " + ", ".join(f"{what} {n}" for what, n in sorted(row.items()))
        for judge, row in found.partial_manners.items()
    )
    some = "1 reply is" if found.partial == 1 else f"{found.partial:,} replies are"
    return note(f"{some} partial to people, and in no rate. {told}")


def _confusions(made: Benched, judge: str) -> Html:
    """People's word against the judge's, counted, and the replies on which they part."""
    wrong = [one for one in made.found.confusions if one.judge == judge]
    if not wrong:
        return note(f"{titled(judge)} says what people say of every reply.")
    counts: Mapping[tuple[str, str], int] = made.found.score(judge).table
    said = list(dict.fromkeys([*map(str, Label), *(b for _, b in counts)]))
    people = [word for word in map(str, Label) if any(a == word for a, _ in counts)]
    rows = [
        (html("people: {}", badge(a)), *(_count(counts.get((a, b), 0), a == b) for b in said))
        for a in people
    ]
    head = ("", *(f"judge: {b}" for b in said))
    lines = joined(_line(made.written[one.row], one) for one in wrong[:_SHOWN])
    more = "" if len(wrong) <= _SHOWN else note(f"The first {_SHOWN}; the CSV has all.")
    word = "confusion" if len(wrong) == 1 else "confusions"
    return html(
        '<details class="read" data-apart><summary>{judge}: {wrong:,} {word}</summary>'
        '{table}<div class="scroll replies">{lines}</div>{more}</details>',
        judge=titled(judge), wrong=len(wrong), word=word, lines=lines, more=more,
        table=table(head, rows, range(1, len(said) + 1)),
    )  # fmt: skip


def _count(n: int, right: bool) -> str:
    return html("<b>{:,}</b>", n) if right else f"{n:,}" if n else "–"


def _line(one: Labelled, wrong: Any) -> Html:
    """One reply on which the judge and people part, folded."""
    body = one.reply or html('<span class="muted">(no text)</span>')
    about = " · ".join(filter(None, (f"reply {wrong.row + 1}", one.model, wrong.reason)))
    return html(
        '<details><summary>people {} · judge {} <span dir="auto">{}</span></summary>'
        '<p class="reply" dir="auto">{}</p><p class="muted">{}</p></details>',
        badge(wrong.people), badge(wrong.said), one.prompt, body, about,
    )  # fmt: skip
