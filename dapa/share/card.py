"""The README of what is handed on: what it was made of, what was measured, how to make it again.

It says nothing that changes from one making to the next, so that the same folder is made twice; and
no path of this machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from dapa.core.masks import Mask
from dapa.core.version import VERSION
from dapa.judges import titled
from dapa.model.pair import Pair, Share
from dapa.model.spec import PairSpec, short_name, split
from dapa.prompts.hub import is_hub_id
from dapa.share.evidence import Evidence
from dapa.writing.claims import headline
from dapa.writing.confidence import headline as certified_headline
from dapa.writing.costs import cost_lines
from dapa.writing.numbers import plain, rate_text
from dapa.writing.sentences import moved_sentence
from dapa.writing.unit_names import units_text

MEASURES = {
    "dsr": "harmful requests refused (DSR)",
    "over_refusal": "harmless requests refused (over-refusal)",
    "borderline": "borderline harmless requests refused",
    "skill": "skill: exact answers",
    "incoherent": "incoherent replies",
    "unclear": "unclear replies",
}
"""Measure of a table -> its line on the card."""
MODELS = ("student", "patched", "teacher")


@dataclass(frozen=True)
class Told:
    """All that a card says."""

    spec: PairSpec
    digests: tuple[str, str]
    mask: Mask
    share: Share
    evidence: Evidence

    @property
    def student(self) -> str:
        """The student's name for people elsewhere."""
        return public_name(self.spec.student)

    @property
    def teacher(self) -> str:
        """The teacher's."""
        return public_name(self.spec.teacher)


def told_of(pair: Pair, digests: tuple[str, str], evidence: Evidence) -> Told:
    """What a card says of a mask on a loaded pair."""
    mask = evidence.mask
    return Told(pair.spec, digests, mask, pair.share(mask), evidence)


def public_name(name: str) -> str:
    """A hub id as it is; of a folder its last part alone: a path tells of this machine."""
    base, adapter = split(name)
    if adapter:
        return f"{public_name(base)}+{short_name(adapter)}"
    return name if is_hub_id(name) and not name.startswith((".", "/")) else short_name(name)


def command_of(told: Told, kind: str) -> str:
    """The command that makes the same again."""
    spec, mask = told.spec, told.mask
    pair = (
        ["--pair", spec.name]
        if spec.name
        else ["--student", told.student, "--teacher", told.teacher]
    )
    words = ["python", "-m", "dapa", "export", *pair, "--units", mask.key, "--as", kind]
    return shlex.join([*words, "--to", "DIR"])


def card(told: Told, kind: str = "model") -> str:
    """A model card: YAML for the hub, then the same for people.

    Args:
        told: What is known.
        kind: `model`, or `lora`, whose relation to its base is another.
    """
    bases = [_id(told.student), _id(told.teacher)]
    data = ModelCardData(
        base_model=bases[:1] if kind == "lora" else list(dict.fromkeys(bases)),
        library_name="peft" if kind == "lora" else "transformers",
        pipeline_tag="text-generation",
        tags=["dapa", "safety", "refusal"],
        model_name=f"{short_name(told.student)} with {units_text(told.mask.units)} of "
        f"{short_name(told.teacher)}",
        eval_results=_results(told) or None,
        base_model_relation="adapter" if kind == "lora" else "merge",
    )
    head = data.to_yaml()
    return f"---\n{head}\n---\n\n{_body(told, kind)}"


def _id(name: str) -> str:
    """A name that the hub takes for a repository's; a base and its adapter are two."""
    base = name.partition("+")[0].partition("@")[0]
    return "/".join(re.sub(r"[^\w.-]", "-", part) for part in base.split("/"))


def eval_entries(told: Told) -> str:
    """`.eval_results` as YAML: only what was asked of a data set on the hub; "" without any."""
    table = told.evidence.table
    if table is None:
        return ""
    sets = {
        "dsr": table.settings.get("prompts"),
        "over_refusal": table.settings.get("harmless"),
        "borderline": table.settings.get("borderline"),
        "skill": table.settings.get("skill"),
    }
    entries = []
    for measure, source in sets.items():
        found = told.evidence.rate("patched", measure)
        name = str(source or "").partition(":")[0]
        if found is None or not is_hub_id(name):
            continue
        dataset, _, revision = name.partition("@")
        entries.append(
            EvalResultEntry(
                dataset_id=dataset,
                task_id=measure,
                value=round(100 * found.value, 2),
                dataset_revision=revision or None,
                date=str(table.settings.get("date") or "") or None,
                notes=f"{MEASURES[measure]}, {rate_text(found)}, judge {_judge(told)}",
            )
        )
    return str(yaml_dump(eval_result_entries_to_yaml(entries))) if entries else ""


def _judge(told: Told) -> str:
    """The judge for people, and in brackets what programs call it."""
    table = told.evidence.table
    name = str(((table.result or {}) if table else {}).get("judge") or "rules")
    words = titled(name)
    return name if words == name else f"{words} ({name})"


def _results(told: Told) -> list[EvalResult]:
    """The rates as the card's own metadata has them."""
    sets: Mapping[str, Any] = told.evidence.table.settings if told.evidence.table else {}
    names = {"dsr": "prompts", "over_refusal": "harmless"}
    found = []
    for measure, title in MEASURES.items():
        one = told.evidence.rate("patched", measure)
        where = ""
        if measure == "dsr":
            _, one, where = told.evidence.dsr
        if one is None:
            continue
        source = str(sets.get(names.get(measure, measure)) or "")
        if not is_hub_id(source.partition(":")[0]):
            source = f"dapa/{short_name(source)}" if source else f"dapa/bundled-{measure}"
        found.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=source,
                dataset_name=f"{source}{f', {where}' if where else ''}",
                metric_type=measure,
                metric_name=f"{title}, {rate_text(one)}",
                metric_value=round(100 * one.value, 2),
            )
        )
    return found


def _body(told: Told, kind: str) -> str:
    spec, mask = told.spec, told.mask
    strengths = ", ".join(f"{unit} at {s:g}" for unit, s in mask.entries if s != 1.0)
    what = "A LoRA that makes" if kind == "lora" else "This is"
    lines = [
        f"# {short_name(told.student)} with {units_text(mask.units)} of {short_name(told.teacher)}",
        f"{what} `{told.student}` (the student) {'into one ' if kind == 'lora' else ''}with the "
        f"weights of `{told.teacher}` (the teacher) in {len(mask)} "
        f"{'unit' if len(mask) == 1 else 'units'}, to refuse harmful requests as the teacher does. "
        f"All else is the student's. {moved_sentence(told.share)}",
        "Units: " + ", ".join(f"`{unit}`" for unit in mask.units)
        + (f" (strengths below 1: {strengths})" if strengths else "") + ".",
        *_measured(told),
        *_cost(told.evidence),
        "## Made of",
        _table(
            ("", "name", "digest of the weights"),
            [
                ("student", f"`{told.student}`", f"`{told.digests[0]}`"),
                ("teacher", f"`{told.teacher}`", f"`{told.digests[1]}`"),
            ],
        ),
        f"Made by DAPA Dashboard {VERSION}, precision of the pair {spec.dtype}; the same again "
        "with",
        f"```\n{command_of(told, kind)}\n```",
        "## Limits",
        "Refusals were counted by a judge of replies, on the prompts named here; other requests, "
        "other languages, long conversations and attacks may do otherwise. What the student could "
        "do that is harmful it can still do where it is not asked to its face. A refusal is no "
        "proof of safety.",
    ]  # fmt: skip
    return "\n\n".join(lines) + "\n"


def _measured(told: Told) -> list[str]:
    """What was measured, or that nothing was."""
    evidence, report = told.evidence, told.evidence.report
    student, found, where = evidence.dsr
    if found is None:
        return [
            "## Measured",
            "Nothing was measured of this set. `python -m dapa evaluate` with the same pair and "
            "units does, and the card made after it says so.",
        ]
    lines = ["## Measured"]
    if report is not None:
        if report.confidence is not None:
            kind = str(evidence.search.settings.get("kind", "gate")) if evidence.search else "gate"
            lines.append(certified_headline(report.confidence.as_dict(), kind))
        elif certificate := headline(report.claimed):
            lines.append(f"Certificate of the search: {certificate}.")
    rows = []
    for measure, title in MEASURES.items():
        rates = [evidence.rate(model, measure) for model in MODELS]
        if measure == "dsr":
            title, rates = f"{title}, {where}", [student, found, rates[2]]
        if any(rates):
            rows.append((title, *(rate_text(rate) if rate else "" for rate in rates)))
    for measure, title in (("perplexity", "perplexity"), ("kl", "KL to the student, bits a token")):
        values = [evidence.column(model).get(measure) for model in MODELS]
        if any(values):
            rows.append((title, *(_number(value) for value in values)))
    lines.append(_table(("", *MODELS), rows))
    if evidence.table is not None:
        limit = (evidence.table.result or {}).get("max_new_tokens")
        lines.append(
            f"Judge {_judge(told)}, replies of at most {limit} tokens, greedy; 95 % intervals."
        )
    return lines


def _number(value: Any) -> str:
    if not isinstance(value, dict) or value.get("value") is None:
        return ""
    ends = [value.get("low"), value.get("high")]
    shown = plain(value["value"])
    return shown + (
        f" [{plain(ends[0])}, {plain(ends[1])}]" if all(e is not None for e in ends) else ""
    )


def _cost(evidence: Evidence) -> list[str]:
    report = evidence.report
    if report is None:
        return []
    return ["## What finding it cost", _table(("", ""), cost_lines(report.costs.as_dict()))]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
