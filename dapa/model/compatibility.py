"""Can this pair work? Answered from configs, headers and tokenizers, before any model is built.

Each mismatch is a finding with its consequence: it blocks, it warns, or it is fine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dapa.core.records import ENDS, OUTSIDE, PairError, Site
from dapa.model.checkpoint import Checkpoint, Progress
from dapa.model.distances import distances, places_of
from dapa.model.families import Family, family_of
from dapa.model.vocabulary_rows import shared_rows

Level = Literal["blocks", "warns", "fine"]

_MUST_AGREE = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden size",
    "intermediate_size": "MLP width",
    "num_attention_heads": "attention heads",
    "num_key_value_heads": "key-value heads",
    "head_dim": "head size",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    why: str


@dataclass(frozen=True)
class Report:
    """Whether two checkpoints make a pair, and where their sites differ."""

    findings: tuple[Finding, ...]
    layers: int
    bytes: int
    """Bytes of both checkpoints on disk."""
    differs: dict[str, tuple[int, ...]]
    """Kind of site -> the layers in which student and teacher differ (OUTSIDE for an end)."""
    distance: dict[str, tuple[float, ...]]
    """Kind of site -> relative Frobenius distance of each layer's weights; one for an end."""

    @property
    def compatible(self) -> bool:
        """Does nothing block?"""
        return all(finding.level != "blocks" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that `dapa check` prints."""
        return {
            "compatible": self.compatible,
            "findings": [vars(finding) for finding in self.findings],
            "layers": self.layers,
            "bytes": self.bytes,
            "differs": {
                kind: [None if layer == OUTSIDE else layer for layer in layers]
                for kind, layers in self.differs.items()
            },
            "distance": {
                kind: [value if math.isfinite(value) else None for value in values]
                for kind, values in self.distance.items()
            },
        }

    def raise_if_blocked(self) -> None:
        """PairError with the first blocking finding."""
        for finding in self.findings:
            if finding.level == "blocks":
                raise PairError(f"{finding.what}: {finding.why}")


def check(
    student: Checkpoint,
    teacher: Checkpoint,
    progress: Progress | None = None,
    kinds: Collection[str] | None = None,
) -> Report:
    """Compare two checkpoints.

    Args:
        student: The unaligned model's files.
        teacher: The aligned one's.
        progress: Told while their weights are compared, tensor by tensor; may raise to cancel.
        kinds: Kinds of site to compare; no other tensor is opened. All by default.

    Raises:
        PairError: Only where a config or a tokenizer cannot be read; all else is a finding.
    """
    findings: list[Finding] = []
    size = student.bytes + teacher.bytes
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        findings += _one_sided(side, checkpoint.config)
    if student.config["model_type"] != teacher.config["model_type"]:
        why = (
            f"the student is {student.config['model_type']}, the teacher "
            f"{teacher.config['model_type']}; choose two models of one architecture"
        )
        findings.append(Finding("blocks", "architecture", why))
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), 0, size, {}, {})
    family = family_of(student.config["model_type"])
    layers = int(student.settings.num_hidden_layers)
    findings += _sizes(student.settings, teacher.settings)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    findings += _vocabulary(student, teacher)
    places = places_of(family, layers, kinds or family.single, student.tied and teacher.tied)
    findings += _weights_there(family, places, student, teacher)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    distance = distances(family, places, student, teacher, progress)
    differs = {
        kind: tuple(
            OUTSIDE if kind in ENDS else i for i, value in enumerate(row) if value != 0.0
        )  # NaN differs too
        for kind, row in distance.items()
    }
    findings += _difference(student, teacher, differs, distance, whole=kinds is None)
    return Report(tuple(findings), layers, size, differs, distance)


def _sizes(ours: Any, theirs: Any) -> list[Finding]:
    """Settings that must be equal, with the defaults that config.json may leave out."""
    found = []
    for key, title in _MUST_AGREE.items():
        a, b = getattr(ours, key, None), getattr(theirs, key, None)
        if a != b:
            why = (
                f"the student has {a}, the teacher {b}; weights of different shapes cannot be "
                "transplanted, so choose models of one size"
            )
            found.append(Finding("blocks", title, why))
    a, b = getattr(ours, "hidden_act", None), getattr(theirs, "hidden_act", None)
    if a != b:
        why = (
            f"the student's MLPs use {a}, the teacher's {b}; transplanted gates run under the "
            "student's"
        )
        found.append(Finding("warns", "activation", why))
    return found


def _one_sided(side: str, config: dict[str, Any]) -> list[Finding]:
    """What is wrong with one model whatever the other is."""
    found = []
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        why = f"its weights are stored as {method or 'unknown'}; give the unquantised checkpoint"
        found.append(Finding("blocks", f"{side} quantised", why))
    names = [str(name) for name in config.get("architectures") or []]
    if config.get("is_encoder_decoder") or (
        names and not any("CausalLM" in n or "ConditionalGeneration" in n for n in names)
    ):
        kind = ", ".join(names) or "an encoder-decoder"
        why = f"{kind} is no causal language model; choose one that writes text"
        found.append(Finding("blocks", f"{side} kind", why))
    try:
        family_of(config["model_type"])
    except PairError as error:
        found.append(Finding("blocks", f"{side} architecture", str(error)))
    return found


def _vocabulary(student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    """Vocabulary, tokenizer, chat template, tied embeddings: none of them blocks."""
    found = []

    def say(level: Level, what: str, why: str) -> None:
        found.append(Finding(level, what, why))

    a, b = student.settings.vocab_size, teacher.settings.vocab_size
    if a == b:
        say("fine", "vocabulary", f"both have {a} entries")
    else:
        why = f"the student has {a} entries, the teacher {b}; transplants work, views over tokens"
        say("warns", "vocabulary", f"{why} use the shared ones")
    ours, theirs = student.tokenizer, teacher.tokenizer
    if ours.get_vocab() == theirs.get_vocab():
        say("fine", "tokenizer", "the same tokens in both")
    else:
        shared = len(ours.get_vocab().items() & theirs.get_vocab().items())
        why = f"{shared} of {len(ours)} tokens agree; each model reads prompts with its own"
        say("warns", "tokenizer", why)
    if not ours.chat_template and not theirs.chat_template:
        say("warns", "chat template", "neither has one; prompts are given raw, as text")
    elif not theirs.chat_template:
        say("warns", "chat template", "the teacher has none; the student's serves both")
    else:
        say("fine", "chat template", "the teacher's serves both")
    shared = shared_rows(ours, theirs, (a, b))
    if shared is not None:
        why = f"{int(shared.sum())} of the student's {a} rows are the same token's in both; the"
        say("warns", "embeddings and head", f"{why} others stay the student's")
    if student.tied and teacher.tied:
        why = "the head is the embeddings' own matrix in both; one unit, embeddings, moves both"
        say("fine", "tied embeddings", why)
    elif student.tied or teacher.tied:
        who = "student" if student.tied else "teacher"
        why = f"the {who} ties its head to its embeddings, the other does not; embeddings and head"
        say("warns", "tied embeddings", f"{why} are two units")
    return found


def _weights_there(
    family: Family, places: Sequence[Site], student: Checkpoint, teacher: Checkpoint
) -> list[Finding]:
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        for site in places:
            if "weight" not in checkpoint.tensors_of(family, site):
                why = (
                    f"{family.weight_name(site)} is not among its tensors; the checkpoint is not "
                    "whole, so download it again"
                )
                return [Finding("blocks", f"{side} weights", why)]
    for site in places:
        mine, other = student.tensors_of(family, site), teacher.tensors_of(family, site)
        for part in mine.keys() & other.keys():
            a, b = student.shapes[mine[part]], teacher.shapes[other[part]]
            if a != b and (a[1:] != b[1:] or site.layer != OUTSIDE):  # rows may differ outside
                why = (
                    f"{mine[part]} is {list(a)} in the student and {list(b)} in the teacher; "
                    "choose models of one size"
                )
                return [Finding("blocks", "shapes", why)]
    return []


def _difference(
    student: Checkpoint,
    teacher: Checkpoint,
    differs: dict[str, tuple[int, ...]],
    distance: dict[str, tuple[float, ...]],
    whole: bool,
) -> list[Finding]:
    """Say where the two differ, and what to search if the gates do not."""
    found = []
    for kind, row in distance.items():
        apart = sorted(row[layer if layer != OUTSIDE else 0] for layer in differs[kind])
        where = "equal in both: never searched"
        if apart:
            where = (
                f"differs in {len(apart)} of {len(row)} layers" if kind not in ENDS else "differs"
            )
            where += f", by {apart[0]:.2g}"
            where += f" to {apart[-1]:.2g} of its norm" if len(apart) > 1 else " of its norm"
        found.append(Finding("fine", kind, where))
        broken = [layer for layer, value in enumerate(row) if not math.isfinite(value)]
        if broken:
            name = kind if kind in ENDS else f"layer {broken[0]}'s {kind}"
            why = f"{name} holds NaN or infinite values in one of the models; download them again"
            found.append(Finding("blocks", "weights", why))
    if any(differs.values()):
        if not differs.get("gate", True):
            others = ", ".join(kind for kind, layers in differs.items() if layers)
            found.append(
                Finding("warns", "gates", f"equal in both; what differs is {others}: search those")
            )
        return found
    same = student.folder.resolve() == teacher.folder.resolve()
    if not whole and not same:
        why = f"{', '.join(differs)} are equal in both models; ask for other kinds of site"
        return [*found, Finding("blocks", "difference", why)]
    elsewhere = sorted(
        name
        for name in student.shapes.keys() & teacher.shapes.keys()
        if student.shapes[name] != teacher.shapes[name]
        or not torch.equal(student.tensor(name).float(), teacher.tensor(name).float())
    )
    if same or not elsewhere:
        why = "student and teacher are the same model; choose two that differ"
    else:
        more = f" and {len(elsewhere) - 1} more" if len(elsewhere) > 1 else ""
        why = f"only {elsewhere[0]}{more} differs, which no mask moves; give another teacher"
    return [*found, Finding("blocks", "difference", why)]
