"""The gap budget: where the refusal that the student lacks sits at all.

Refusal gained by each part of the model: alone (the student with the teacher's part) and left out
(the teacher, less the teacher with the student's part), in refusal log-odds. Parts are not
additive: neither column has to sum to the whole. Beside it stand both models under both chat
templates, the system prompt apart, since a template can carry as much as weights do.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dapa.core.records import PromptError
from dapa.localize.causes.flips import (
    Effect,
    Floats,
    Progress,
    contrasted,
    counted,
    effect_of,
    interleaved,
)
from dapa.localize.causes.hybrids import (
    ATTENTION,
    ENDS,
    GATE,
    NORMS,
    PARTS,
    REST,
    hybrid_log_odds,
    part_sizes,
)
from dapa.model.decode.log_odds import Ids, refusal_log_odds
from dapa.model.decode.openers import Openers, Role, find_openers
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.probe import template_text
from dapa.model.template import at_answer, encode, render
from dapa.prompts.format import PromptFormat, Turn

ROLES: tuple[Role, Role] = ("student", "teacher")
GROUPS: dict[str, tuple[tuple[str, ...], str]] = {
    "gate": ((GATE,), "gates"),
    "rest": ((REST,), "rest of the MLP"),
    "mlp": ((GATE, REST), "whole MLP"),
    "attention": ((ATTENTION,), "attention"),
    "norms": ((NORMS,), "norms"),
    "ends": ((ENDS,), "embeddings and head"),
    "not_mlp": ((ATTENTION, NORMS, ENDS), "everything but the MLP"),
}
"""Row of the budget -> (the parts that move together, title)."""


@dataclass(frozen=True)
class GapRow:
    """What one part of the model brings."""

    name: str
    """A key of `GROUPS`."""
    title: str
    alone: Effect
    """Log-odds of the student with the teacher's part, minus the student's."""
    left_out: Effect
    """Log-odds of the teacher, minus those of the teacher with the student's part."""
    differs: bool
    """False where both models hold equal weights; both effects are 0 then, and not measured."""
    share: float
    """The part's share of the student's parameters."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        effects = {"alone": self.alone.as_dict(), "left_out": self.left_out.as_dict()}
        return {"part": self.name, **effects, "differs": self.differs, "share": self.share}


@dataclass(frozen=True)
class TemplateCell:
    """One model under one template."""

    weights: Role
    template: str
    """`student`, `teacher`, `both` where theirs are the same, or `none`: the text alone."""
    system: bool
    """Does the system prompt stand before the request?"""
    log_odds: Effect | None
    """Refusal log-odds, mean over prompts; None where the template cannot be used."""
    reason: str = ""
    """Why not."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        odds = self.log_odds.as_dict() if self.log_odds else None
        where = {"weights": self.weights, "template": self.template, "system": self.system}
        return {**where, "log_odds": odds, "reason": self.reason}


@dataclass(frozen=True)
class GapBudget:
    """Where refusal sits, by parts of the model and by template."""

    student: Effect
    """Refusal log-odds of the student, mean over prompts."""
    teacher: Effect
    whole: Effect
    """Teacher minus student: the gap."""
    rows: tuple[GapRow, ...]
    templates: tuple[TemplateCell, ...]
    pair: str
    asked: int
    """How many prompts were asked for; more than counted where the sweep was stopped."""
    harmless: int = 0
    """Harmless prompts whose effects were subtracted from rows and gap; 0 where none were."""
    openers: tuple[Openers, ...] = ()
    """What counted as the opening of a refusal, for student and teacher."""

    @property
    def largest(self) -> GapRow | None:
        """The single part (no group of several) that brings most alone; None where none differs."""
        single = [row for row in self.rows if row.differs and len(GROUPS[row.name][0]) == 1]
        return max(single, key=lambda row: row.alone.value, default=None)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        n = counted(self.whole.n, self.asked)
        less = f" less {self.harmless} harmless" if self.harmless else ""
        return f"{self.pair} · each part's share of the gap in refusal log-odds · {n}{less}"

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file: parts first, templates below."""
        headers = ("what", "case", "value", "low", "high", "n", "share", "note")
        rows: list[tuple[Any, ...]] = [
            (name, "log-odds", e.value, e.low, e.high, e.n, None, "")
            for name, e in (("student", self.student), ("teacher", self.teacher))
        ]
        for row in self.rows:
            note = "" if row.differs else "equal in both models"
            for case, e in (("alone", row.alone), ("left out", row.left_out)):
                rows.append((row.title, case, e.value, e.low, e.high, e.n, row.share, note))
        for cell in self.templates:
            e = cell.log_odds or Effect(np.nan, np.nan, np.nan, 0)
            what = f"{cell.weights}'s weights, template {cell.template}"
            case = "with system prompt" if cell.system else "no system prompt"
            rows.append((what, case, e.value, e.low, e.high, e.n, None, cell.reason))
        return headers, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        ends = {"student": self.student, "teacher": self.teacher, "whole": self.whole}
        return {
            **{name: effect.as_dict() for name, effect in ends.items()},
            "rows": [row.as_dict() for row in self.rows],
            "templates": [cell.as_dict() for cell in self.templates],
            "n": self.whole.n,
            "harmless": self.harmless,
            "openers": [openers.as_dict() for openers in self.openers],
        }


def gap_budget(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    *,
    harmless: Sequence[str] = (),
    twins: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> GapBudget:
    """Refusal gained by gates, rest of the MLP, attention, norms, embeddings and head; templates.

    Args:
        pair: The two models.
        prompts: Requests, harmful ones.
        how: The format of the budget's rows; its system prompt also makes the templates' second
            half. The templates are always compared in template mode.
        harmless: Harmless prompts, whose effects are subtracted from those of parts and from the
            gap; the models' own log-odds, by template too, are of harmful prompts.
        twins: `harmless[i]` is the twin of `prompts[i]`.
        progress: Told (prompts done, prompts in all) after every block of prompts, and
            before each of its passes.
        stop: When set, the budget holds the prompts measured so far.

    Raises:
        PromptError: No prompt, or one that cannot be read.
        NoOpeners: A vocabulary has no refusal opener.
    """
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    openers: dict[Role, Openers] = {role: find_openers(pair, role) for role in ROLES}
    asked, order = [*prompts, *harmless], interleaved(len(prompts), len(harmless))
    ids: dict[Role, Ids] = {
        role: _encoded(pair, [asked[i] for i in order], how, role) for role in ROLES
    }
    sizes = part_sizes(pair)
    names = [name for name, (parts, _) in GROUPS.items() if any(sizes[p].differs for p in parts)]
    every = frozenset(PARTS)
    hybrids = {frozenset(), every}
    for name in names:
        hybrids |= {frozenset(GROUPS[name][0]), every.difference(GROUPS[name][0])}
    f = {hybrid: np.full(len(asked), np.nan) for hybrid in hybrids}
    block = row_capacity(pair)
    for start in range(0, len(asked), block):
        if stop is not None and stop.is_set():
            break
        part = slice(start, start + block)
        here: dict[Role, Ids] = {role: ids[role][part] for role in ROLES}
        for hybrid, values in f.items():
            if progress:  # so that whoever waits for the models need not wait for all of these
                progress(start, len(asked))
            values[order[part]] = hybrid_log_odds(pair, here, hybrid, openers)
        if progress:
            progress(min(start + block, len(asked)), len(asked))
    student, teacher, bad = f[frozenset()], f[every], len(prompts)

    def told(effects: Floats) -> Effect:
        return contrasted(effects[:bad], effects[bad:], twins)

    n = int((~np.isnan(student[:bad])).sum())
    nothing = Effect(0.0, 0.0, 0.0, n)
    total = sum(size.parameters for size in sizes.values())
    rows = []
    for name, (parts, title) in GROUPS.items():
        alone, left_out = nothing, nothing
        if name in names:
            alone = told(f[frozenset(parts)] - student)
            left_out = told(teacher - f[every.difference(parts)])
        share = sum(sizes[part].parameters for part in parts) / total
        if share:
            rows.append(GapRow(name, title, alone, left_out, name in names, share))
    read = [text for text, x in zip(prompts, student[:bad], strict=True) if not np.isnan(x)]
    return GapBudget(
        effect_of(student[:bad]),
        effect_of(teacher[:bad]),
        told(teacher - student),
        tuple(rows),
        template_cells(pair, read, how, openers) if read else (),
        pair.spec.title,
        len(prompts),
        int((~np.isnan(student[bad:])).sum()),
        tuple(openers.values()),
    )


def template_cells(
    pair: Pair, prompts: Sequence[str], how: PromptFormat, openers: dict[Role, Openers]
) -> tuple[TemplateCell, ...]:
    """Both models under each template there is, without and (where `how` has one) with a system.

    A model without a template is used with the text alone, so that stands for its template.
    """
    cells = []
    for title, mode in _templates(pair):
        for system in (False, True) if how.system else (False,):
            written = replace(mode, system=how.system if system else "")
            if system and mode.mode == "raw":
                continue  # the text alone has no place for it
            for role in ROLES:
                found, reason = None, ""
                try:
                    ids = _encoded(pair, prompts, written, role)
                    found = effect_of(_odds(pair, ids, role, openers[role]))
                except PromptError as error:
                    reason = str(error)
                cells.append(TemplateCell(role, title, system, found, reason))
    return tuple(cells)


def _templates(pair: Pair) -> list[tuple[str, PromptFormat]]:
    own = {
        "student": template_text(pair.tokenizer),
        "teacher": template_text(pair.teacher_tokenizer),
    }
    if own["student"] and own["student"] == own["teacher"]:
        return [("both", PromptFormat(whose="student"))]
    found = [(role, PromptFormat(whose=role)) for role in ROLES if own[role]]
    bare = [] if len(found) == 2 else [("none", PromptFormat("raw"))]
    return [*bare, *found]


def _odds(pair: Pair, ids: Ids, role: Role, openers: Openers) -> Floats:
    return refusal_log_odds(pair, ids, role=role, openers=openers)[0]


def _encoded(pair: Pair, prompts: Sequence[str], how: PromptFormat, role: Role) -> Ids:
    return [
        encode(pair, at_answer(render(pair, [Turn("user", prompt)], how), how), how, role)
        for prompt in prompts
    ]
