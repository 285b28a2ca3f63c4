"""`judge`: replies of a file under one judge or several, and how far they agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.judgebench import BenchmarkSettings, compare
from dapa.cli.output import Output, progress, table
from dapa.cli.signature import options
from dapa.core.records import SettingError
from dapa.core.settings import Settings, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dapa.core.records import Label, Manner, Verdict
    from dapa.workbench import Agreement

JUDGE_OPTION = (
    "A judge's option, such as checkpoint=NousResearch/Minos-v1, "
    "labels=A=refusal,B=compliance, url=http://localhost:8000/v1, model=NAME, "
    "key=ENVIRONMENT_VARIABLE, per_minute=60, price=0.15,0.6, rubric=@FILE; repeat for more."
)
JudgeOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help=JUDGE_OPTION)
]
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(Settings):
    """Who judges, and what."""

    replies: str | None = setting(
        None, "replies", "Rows of prompt and reply: JSONL, CSV, TSV, JSON or parquet."
    )
    rulings: bool = setting(
        False,
        "rulings",
        "Or: the replies that people ruled on in the chat, from --run-dir.",
    )
    names: tuple[str, ...] = setting(
        (),
        "judges",
        "rules (the default), released, classifier, endpoint, two-stage or another; an unknown "
        "name lists all; repeat for more.",
        flag="--judge",
        lines=2,
    )
    option: tuple[str, ...] = setting(
        (), "a judge's option", JUDGE_OPTION, metavar="KEY=VALUE", lines=2
    )
    human: str | None = setting(
        None, "people's column", "Column with a person's labels, to agree with."
    )
    harm: str | None = setting(None, "harm", "Harm as a second axis: classifier, causal or chat.")
    harm_option: tuple[str, ...] = setting(
        (), "the harm judge's option", "An option of the harm judge.", metavar="KEY=VALUE", lines=2
    )
    run_dir: str | None = setting(
        None, "run folder", "Keep what judges say in this run folder; ask each once."
    )

    @property
    def folder(self) -> Path | None:
        """Where judges' words are kept."""
        return None if self.run_dir is None else Path(self.run_dir)


@options
def judge(asked: JudgeSettings, scored: BenchmarkSettings, json: o.Json = None) -> None:
    """Judge the replies of a file; with several judges or a person's labels, show who agrees.

    With --benchmark: score every judge against people's labels, by model.
    """
    output = Output(json)
    replies, rulings, human, run_dir = asked.replies, asked.rulings, asked.human, asked.folder
    names, option, harm, harm_option = asked.names, asked.option, asked.harm, asked.harm_option
    if scored.benchmark is not None:
        if replies is not None or rulings or harm is not None:
            raise SettingError(
                "--benchmark stands alone; leave out --replies, --rulings and --harm"
            )
        compare(output, scored, names or ("rules", "released"), option, human, run_dir)
        return
    if scored.halves or scored.apart or scored.markdown:
        raise SettingError("--halves, --apart and --markdown belong to --benchmark FILE; name one")
    from dapa.workbench import Workbench, read_replies

    if (replies is None) != rulings:
        raise SettingError("give --replies FILE, --benchmark FILE, or --rulings with --run-dir")
    if rulings and not (run_dir and run_dir.is_dir()):
        raise SettingError("rulings are kept in a run folder; name it with --run-dir")
    bench = Workbench(run_dir) if run_dir else Workbench()
    written = bench.ruled() if replies is None else read_replies(Path(replies), human)
    if not written:
        raise SettingError(f"nobody has ruled on a reply in {run_dir}; click a badge in the chat")
    pairs = [(row.prompt, row.reply) for row in written]
    with progress() as report:
        report("preparing the judges", None)
        panel = bench.panel(names or ("rules",), option, harm, harm_option)
        said: dict[str, list[Verdict]] = {}
        for number, one in enumerate(panel.judges):
            report(f"asking {one.name}", number / len(panel.judges))
            kept = bench.remembering(one) if run_dir else one
            said[one.name] = kept.all(pairs)
        harmful = None
        if panel.harm is not None:
            report(f"asking {panel.harm.name}", None)
            harmful = panel.harm.all(pairs)
    from dapa.workbench import opinions

    found = opinions(written, said, people=bool(human) or rulings)
    body: dict[str, Any] = found.as_dict()
    rows = body["rows"]
    if harmful is not None:
        for row, harm_word in zip(rows, harmful, strict=True):
            row["harm"] = harm_word.as_dict()
    shown = [_summary(said)]
    manners = _manners(found.manners())
    if manners is not None:
        shown.append(manners)
    if found.agreement is not None:
        shown += _agreement(found.agreement, rows)
    if panel.spend is not None:
        body["spend"] = panel.spend.as_dict()
        s = panel.spend
        shown.append(
            f"{s.calls} calls, {s.failed} failed, {s.read:,} tokens read, {s.written:,} written, "
            f"cost {s.cost:.4g}"
        )
    if len(rows) <= _SHOWN:
        lines = [
            (row["verdict"], row.get("manner", ""), row["evidence"], row["reply"][:60])
            for row in rows
        ]
        shown.insert(0, table(("verdict", "manner", "evidence", "reply"), lines))
    output.result(body, *shown)


def _summary(said: dict[str, list[Verdict]]) -> RenderableType:
    from dapa.core.records import Label
    from dapa.core.statistics import wilson

    rows = []
    for judge, words in said.items():
        counts = Counter(word.label for word in words)
        rows.append((judge, *(wilson(counts[label], len(words)) for label in Label)))
    return table(("judge", *map(str, Label)), rows)


def _manners(found: Mapping[str, Mapping[Label, Mapping[Manner, int]]]) -> RenderableType | None:
    """How many verdicts have which manner, for the judges that tell."""
    rows = [
        (judge, str(label), ", ".join(f"{manner} {n}" for manner, n in sorted(counts.items())))
        for judge, labels in found.items()
        for label, counts in labels.items()
    ]
    return table(("judge", "verdict", "manners"), rows) if rows else None


def _agreement(found: Agreement, rows: list[dict[str, Any]]) -> list[RenderableType]:
    """The matrix of kappas, and the replies on which not all say the same."""

    def kappa(a: str, b: str) -> Any:
        return "" if a == b else found.pair(a, b).kappa

    lines = [(a, *(_number(kappa(a, b)) for b in found.judges)) for a in found.judges]
    shown: list[RenderableType] = [table(("Cohen's kappa", *found.judges), lines)]
    for pair in found.pairs:
        shown.append(f"{pair.a} and {pair.b}: the same on {_percent(pair.observed)}")
    if found.disagreements:
        apart = [
            (place + 1, *_said(rows[place]), rows[place]["reply"][:60])
            for place in found.disagreements[:_SHOWN]
        ]
        title = f"{len(found.disagreements)} disagreements"
        shown.append(table(("row", "first judge", "others", "reply"), apart, title=title))
    return shown


def _said(row: dict[str, Any]) -> tuple[str, str]:
    others = [other["verdict"] for other in row.get("others", ())]
    return row["verdict"], ", ".join([*others, *([row["human"]] if "human" in row else [])])


def _number(value: Any) -> str:
    if value is None or value == "":
        return "-" if value is None else ""
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _percent(rate: Any) -> str:
    from dapa.writing.numbers import rate_text

    return rate_text(rate)
