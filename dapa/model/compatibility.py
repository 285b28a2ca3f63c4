"""Can this pair work? Answered from configs, headers and tokenizers, before any model is built.

Each mismatch is a finding with its consequence: it blocks, it warns, or it is fine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dapa.core.records import ENDS, OUTSIDE, PairError, Site
from dapa.model.adapted import Adapted
from dapa.model.architectures import family_of
from dapa.model.arithmetic import arithmetic
from dapa.model.checkpoint import Checkpoint
from dapa.model.distances import distances, places_of
from dapa.model.families import Family
from dapa.model.files import Progress
from dapa.model.findings import Finding, Level
from dapa.model.probe import begin
from dapa.model.stored import adapters, codes_told, prefix_of, quantised, sizes, unused
from dapa.model.template_findings import template_findings
from dapa.model.vocabulary_rows import shared_rows

_MUST_AGREE = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden size",
    "intermediate_size": "MLP width",
    "num_attention_heads": "attention heads",
    "num_key_value_heads": "key-value heads",
    "head_dim": "head size",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "num_experts_per_tok": "experts for each token",
    "moe_intermediate_size": "experts' width",
    "shared_expert_intermediate_size": "shared expert's width",
}


_WRITES = ("CausalLM", "LMHead", "ConditionalGeneration")
"""What the classes of models that write text have in their names."""


@dataclass(frozen=True)
class Report:
    """Whether two checkpoints make a pair, and where their sites differ."""

    findings: tuple[Finding, ...]
    layers: int
    bytes: int
    """Bytes of both checkpoints' weights on disk, a base that both are made on once."""
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
    size = sum(file.stat().st_size for file in {*student.files, *teacher.files})
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        findings += quantised(side, checkpoint)
        findings += _one_sided(side, checkpoint)
    if student.model_type != teacher.model_type:
        why = (
            f"the student is {student.model_type}, the teacher "
            f"{teacher.model_type}; choose two models of one architecture"
        )
        findings.append(Finding("blocks", "architecture", why))
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), 0, size, {}, {})
    family = student.family
    findings += sizes("student", student) + sizes("teacher", teacher)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), 0, size, {}, {})
    layers = int(student.settings.num_hidden_layers)
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        uneven = family.uneven(checkpoint.settings) if family.uneven else ""
        if uneven:
            why = f"{uneven}; layers of two kinds are not supported, so choose another model"
            findings.append(Finding("blocks", f"{side} layers", why))
    findings += _sizes(student.settings, teacher.settings)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    findings += codes_told(student, teacher)
    findings += arithmetic(student.settings, teacher.settings)
    tokenizers = (student.tokenizer, teacher.tokenizer)
    begin(tokenizers)  # while the weights are compared
    findings += _tokens(student, teacher)
    place = len(findings)
    findings += _vocabulary(student, teacher)
    places = places_of(family, layers, kinds or family.single, student.tied and teacher.tied)
    findings += _weights_there(family, places, student, teacher)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        if isinstance(checkpoint, Adapted):
            findings += checkpoint.findings(side)
        findings += adapters(side, checkpoint) + unused(side, checkpoint, family, layers)
    distance = distances(family, places, student, teacher, progress)
    differs = {
        kind: tuple(
            OUTSIDE if kind in ENDS else i for i, value in enumerate(row) if value != 0.0
        )  # NaN differs too
        for kind, row in distance.items()
    }
    findings[place:place] = template_findings(*tokenizers)
    findings += _gateless(family) + _beside(family, layers, student, teacher)
    findings += _difference(student, teacher, differs, distance, whole=kinds is None)
    return Report(tuple(findings), layers, size, differs, distance)


def _sizes(ours: Any, theirs: Any) -> list[Finding]:
    """Settings that must be equal, with the defaults that config.json may leave out."""
    found = []
    for key, title in _MUST_AGREE.items():
        a, b = _size(ours, key), _size(theirs, key)
        if a != b:
            why = (
                f"the student has {a}, the teacher {b}; weights of different shapes cannot be "
                "transplanted, so choose models of one size"
            )
            found.append(Finding("blocks", title, why))
    return found


def _size(config: Any, key: str) -> Any:
    """A setting, or what its absence means."""
    value = getattr(config, key, None)
    heads = getattr(config, "num_attention_heads", None)
    if value is None and key == "head_dim" and heads:
        return config.hidden_size // heads
    return heads if value is None and key == "num_key_value_heads" else value


def _structure(checkpoint: Checkpoint, otherwise: str) -> str:
    """What was found of an architecture without a row, to be confirmed; else what is missing."""
    from dapa.model.discovery import discover  # builds a model, so only where there is no row

    try:
        _ = checkpoint.settings
    except PairError:  # transformers does not know it either
        return otherwise
    try:
        found = discover(checkpoint)
    except PairError as error:
        return str(error)
    return (
        f"model_type {checkpoint.config['model_type']!r} has no row among the families; found: "
        f"{found.told}. If that is right, add --trust-structure"
    )


def _one_sided(side: str, checkpoint: Checkpoint) -> list[Finding]:
    """What is wrong with one model whatever the other is."""
    config, found = checkpoint.config, []
    names = [str(name) for name in config.get("architectures") or []]
    if config.get("is_encoder_decoder") or (
        names and not any(kind in name for name in names for kind in _WRITES)
    ):
        kind = ", ".join(names) or "an encoder-decoder"
        why = f"{kind} is no causal language model; choose one that writes text"
        found.append(Finding("blocks", f"{side} kind", why))
    try:
        family_of(checkpoint.model_type)
    except PairError as error:
        why = str(error) if found else _structure(checkpoint, str(error))
        found.append(Finding("blocks", f"{side} architecture", why))
    return found


def _tokens(student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    """Vocabulary and tokenizer: neither blocks."""
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
    return found


def _vocabulary(student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    """What the two vocabularies mean for embeddings and head, and whether those are one matrix."""
    found = []

    def say(level: Level, what: str, why: str) -> None:
        found.append(Finding(level, what, why))

    a, b = student.settings.vocab_size, teacher.settings.vocab_size
    ours, theirs = student.tokenizer, teacher.tokenizer
    shared = shared_rows(ours, theirs, (a, b))
    if shared is not None:
        why = f"{int(shared.sum())} of the student's {a} rows are the same token's in both; the"
        say("warns", "embeddings and head", f"{why} others stay the student's")
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        if checkpoint.settings.tie_word_embeddings and not checkpoint.tied:
            why = (
                f"the {side}'s config ties its head to its embeddings, and its file holds two "
                "different matrices; the file is believed, so they are two units"
            )
            say("warns", f"{side} config", why)
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
            needed = {*family.parameters(site.module)} - {"bias"}
            if not needed <= checkpoint.tensors_of(family, site).keys():
                name = family.weight_name(site)
                why = prefix_of(checkpoint, name) or (
                    f"{name} is not among its tensors; the checkpoint is not whole, so download it "
                    "again"
                )
                return [Finding("blocks", f"{side} weights", why)]
    for site in places:
        mine, other = student.tensors_of(family, site), teacher.tensors_of(family, site)
        for part in mine.keys() & other.keys():
            a, b = student.shape(mine[part]), teacher.shape(other[part])
            if a != b and (a[1:] != b[1:] or site.layer != OUTSIDE):  # rows may differ outside
                why = (
                    f"{mine[part].name} is {list(a)} in the student and {list(b)} in the teacher; "
                    "choose models of one size"
                )
                return [Finding("blocks", "shapes", why)]
    return []


def _gateless(family: Family) -> list[Finding]:
    """Say plainly that what the paper moves does not exist here."""
    if family.first == "gate":
        return []
    if family.mixture:
        why = (
            f"{family.title}'s gates stand inside its experts, so the paper's own transplant does "
            f"not exist here; search {', '.join(family.mixture)}, or mlp (all of them), which move "
            "whole: strength 0 or 1"
        )
        return [Finding("warns", "mixture of experts", why)]
    why = (
        f"{family.title}'s MLP has no gate, so the paper's own transplant does not exist here; "
        "search up (its up projection, behind which the activation stands) or mlp (the whole MLP)"
    )
    return [Finding("warns", "no gates", why)]


def _beside(family: Family, layers: int, student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    """Parameters that differ and that no mask moves."""
    found = []
    for path in family.beside:
        names = [f"{family.layers}.{layer}.{path}" for layer in range(layers)]
        both = [name for name in names if name in student.shapes and name in teacher.shapes]
        apart = [n for n in both if not torch.equal(student.tensor(n), teacher.tensor(n))]
        if apart:
            why = (
                f"{apart[0]} and {len(apart) - 1} more of {layers} differ; they are no site, so "
                "they stay the student's whatever is transplanted"
            )
            found.append(Finding("warns", path.rpartition(".")[2], why))
    return found


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
    same = student.place == teacher.place and not any(
        isinstance(side, Adapted) for side in (student, teacher)
    )
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
