"""Can this pair work? Answered from configs, headers and tokenizers, before any model is built.

Each mismatch is a finding with its consequence: it blocks, it warns, or it is fine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dapa.model.checkpoint import Checkpoint, Progress
from dapa.model.sites import GROUPS, Family, family_of
from dapa.records import PairError, Site

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
    """Kind of site -> the layers in which student and teacher differ."""
    distance: dict[str, tuple[float, ...]]
    """Kind of site -> relative Frobenius distance of each layer's weight."""

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
            "differs": {kind: list(layers) for kind, layers in self.differs.items()},
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


def check(student: Checkpoint, teacher: Checkpoint, progress: Progress | None = None) -> Report:
    """Compare two checkpoints.

    Args:
        student: The unaligned model's files.
        teacher: The aligned one's.
        progress: Told while their weights are compared, tensor by tensor; may raise to cancel.

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
    findings += _weights_there(family, layers, student, teacher)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    distance = _distances(family, layers, student, teacher, progress)
    differs = {
        kind: tuple(i for i, value in enumerate(row) if value != 0.0)  # NaN differs too
        for kind, row in distance.items()
    }
    findings += _difference(student, teacher, differs, distance)
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
    ties = [bool(checkpoint.settings.tie_word_embeddings) for checkpoint in (student, teacher)]
    if ties[0] != ties[1]:
        who = "student" if ties[0] else "teacher"
        why = f"the {who} ties its head to its embeddings, the other does not; MLP sites are"
        say("warns", "tied embeddings", f"{why} untouched by this")
    return found


def _weights_there(
    family: Family, layers: int, student: Checkpoint, teacher: Checkpoint
) -> list[Finding]:
    for side, checkpoint in (("student", student), ("teacher", teacher)):
        for layer in range(layers):
            for kind, _ in family.sites:
                name = family.weight_name(Site(layer, kind))
                if name not in checkpoint.shapes:
                    return [
                        Finding(
                            "blocks",
                            f"{side} weights",
                            f"{name} is not among its tensors; the checkpoint is not whole, so "
                            "download it again",
                        )
                    ]
    for layer in range(layers):
        for kind, _ in family.sites:
            name = family.weight_name(Site(layer, kind))
            a, b = student.shapes[name], teacher.shapes[name]
            if a != b:
                why = (
                    f"{name} is {list(a)} in the student and {list(b)} in the teacher; choose "
                    "models of one size"
                )
                return [Finding("blocks", "shapes", why)]
    return []


def _distances(
    family: Family,
    layers: int,
    student: Checkpoint,
    teacher: Checkpoint,
    progress: Progress | None,
) -> dict[str, tuple[float, ...]]:
    """Relative Frobenius distance per kind and layer, read tensor by tensor."""
    values: dict[str, list[float]] = {kind: [] for kind, _ in family.sites}
    for layer in range(layers):
        if progress:
            progress("comparing the two models", layer / layers)
        for kind, row in values.items():
            name = family.weight_name(Site(layer, kind))
            a, b = student.tensor(name).float(), teacher.tensor(name).float()
            same = torch.equal(a, b)
            row.append(0.0 if same else float((a - b).norm() / a.norm().clamp_min(1e-12)))
    return {kind: tuple(row) for kind, row in values.items()}


def _difference(
    student: Checkpoint,
    teacher: Checkpoint,
    differs: dict[str, tuple[int, ...]],
    distance: dict[str, tuple[float, ...]],
) -> list[Finding]:
    """Say where the two differ, and what to search if the gates do not."""
    found = []
    for kind, layers in differs.items():
        where = f"{len(layers)} layers differ" if layers else "equal in both: never searched"
        found.append(Finding("fine", kind, where))
    for kind, row in distance.items():
        broken = [layer for layer, value in enumerate(row) if not math.isfinite(value)]
        if broken:
            why = (
                f"layer {broken[0]}'s {kind} holds NaN or infinite values in one of the models; "
                "download them again"
            )
            found.append(Finding("blocks", "weights", why))
    if any(differs.values()):
        if not differs["gate"]:
            others = ", ".join(kind for kind, layers in differs.items() if layers)
            found.append(
                Finding("warns", "gates", f"equal in both; what differs is {others}: search those")
            )
        return found
    same = student.folder.resolve() == teacher.folder.resolve()
    elsewhere = sorted(
        {
            name.split(".")[-2]
            for name in student.shapes.keys() & teacher.shapes.keys()
            if student.shapes[name] != teacher.shapes[name]
            or not torch.equal(student.tensor(name).float(), teacher.tensor(name).float())
        }
    )
    if same or not elsewhere:
        why = "student and teacher are the same model; choose two that differ"
    else:
        why = (
            f"no MLP site differs, only {', '.join(elsewhere)}, which no mask moves; give another "
            "teacher"
        )
    return [*found, Finding("blocks", "difference", why)]


def kinds_that_differ(family: Family, differs: dict[str, tuple[int, ...]]) -> dict[str, list[int]]:
    """Kind of unit (groups too) -> layers in which any of its sites differs."""
    return {
        kind: sorted({layer for part in GROUPS[kind] for layer in differs.get(part, ())})
        for kind in family.kinds
    }
