"""Can this pair work? Answered from configs, headers and tokenizers, before any model is built.

Each mismatch is a finding with its consequence: it blocks, it warns, or it is fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from dapa.model.loading import Checkpoint, load_tokenizer
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
    "hidden_act": "activation",
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
            "distance": {kind: list(values) for kind, values in self.distance.items()},
        }

    def raise_if_blocked(self) -> None:
        """PairError with the first blocking finding."""
        for finding in self.findings:
            if finding.level == "blocks":
                raise PairError(f"{finding.what}: {finding.why}")


def check(student: Checkpoint, teacher: Checkpoint) -> Report:
    """Compare two checkpoints.

    Raises:
        PairError: Only where a tokenizer cannot be read; all else is a finding.
    """
    findings: list[Finding] = []
    a, b = student.config, teacher.config
    size = student.bytes + teacher.bytes
    for side, config in (("student", a), ("teacher", b)):
        findings += _one_sided(side, config)
    if a["model_type"] != b["model_type"]:
        findings.append(
            Finding(
                "blocks",
                "architecture",
                f"the student is {a['model_type']}, the teacher {b['model_type']}; "
                "choose two models of one architecture",
            )
        )
    for key, title in _MUST_AGREE.items():
        if a.get(key) != b.get(key):
            findings.append(
                Finding(
                    "blocks",
                    title,
                    f"the student has {a.get(key)}, the teacher {b.get(key)}; weights of "
                    "different shapes cannot be transplanted, so choose models of one size",
                )
            )
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), int(a.get("num_hidden_layers") or 0), size, {}, {})
    family = family_of(a["model_type"])
    layers = int(a["num_hidden_layers"])
    findings += _vocabulary(student, teacher)
    findings += _weights_there(family, layers, student, teacher)
    if any(finding.level == "blocks" for finding in findings):
        return Report(tuple(findings), layers, size, {}, {})
    distance = _distances(family, layers, student, teacher)
    differs = {k: tuple(i for i, d in enumerate(v) if d > 0) for k, v in distance.items()}
    findings += _difference(student, teacher, differs)
    return Report(tuple(findings), layers, size, differs, distance)


def _one_sided(side: str, config: dict[str, Any]) -> list[Finding]:
    """What is wrong with one model whatever the other is."""
    found = []
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        found.append(
            Finding(
                "blocks",
                f"{side} quantised",
                f"its weights are stored as {method}; give the unquantised checkpoint",
            )
        )
    names = config.get("architectures") or []
    if config.get("is_encoder_decoder") or (
        names and not any("CausalLM" in n or "ConditionalGeneration" in n for n in names)
    ):
        found.append(
            Finding("blocks", f"{side} kind", f"{', '.join(names)} is no causal language model")
        )
    try:
        family_of(config["model_type"])
    except PairError as error:
        found.append(Finding("blocks", f"{side} architecture", str(error)))
    return found


def _vocabulary(student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    found = []
    a, b = student.config.get("vocab_size"), teacher.config.get("vocab_size")
    if a == b:
        found.append(Finding("fine", "vocabulary", f"both have {a} entries"))
    else:
        found.append(
            Finding(
                "warns",
                "vocabulary",
                f"the student has {a} entries, the teacher {b}; transplants work, views over "
                "tokens use the shared ones",
            )
        )
    ours, theirs = load_tokenizer(student), load_tokenizer(teacher)
    if ours.get_vocab() == theirs.get_vocab():
        found.append(Finding("fine", "tokenizer", "the same tokens in both"))
    else:
        shared = len(ours.get_vocab().items() & theirs.get_vocab().items())
        found.append(
            Finding(
                "warns",
                "tokenizer",
                f"{shared} of {len(ours)} tokens agree; each model reads prompts with its own",
            )
        )
    if not ours.chat_template and not theirs.chat_template:
        found.append(
            Finding("warns", "chat template", "neither has one; prompts are given raw, as text")
        )
    elif not theirs.chat_template:
        found.append(
            Finding("warns", "chat template", "the teacher has none; the student's serves both")
        )
    else:
        found.append(Finding("fine", "chat template", "the teacher's serves both"))
    ties = [bool(c.config.get("tie_word_embeddings")) for c in (student, teacher)]
    if ties[0] != ties[1]:
        found.append(
            Finding(
                "warns",
                "tied embeddings",
                f"{'student' if ties[0] else 'teacher'} ties its head to its embeddings, the "
                "other does not; MLP sites are untouched by this",
            )
        )
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
                            f"{name} is not among its tensors; the checkpoint is not whole",
                        )
                    ]
    for layer in range(layers):
        for kind, _ in family.sites:
            name = family.weight_name(Site(layer, kind))
            a, b = student.shapes[name], teacher.shapes[name]
            if a != b:
                why = f"{name} is {list(a)} in the student and {list(b)} in the teacher"
                return [Finding("blocks", "shapes", why)]
    return []


def _distances(
    family: Family, layers: int, student: Checkpoint, teacher: Checkpoint
) -> dict[str, tuple[float, ...]]:
    """Relative Frobenius distance per kind and layer, read tensor by tensor."""
    values: dict[str, tuple[float, ...]] = {}
    for kind, _ in family.sites:
        row = []
        for layer in range(layers):
            name = family.weight_name(Site(layer, kind))
            a, b = student.tensor(name), teacher.tensor(name)
            if torch.equal(a, b):
                row.append(0.0)
                continue
            a, b = a.float(), b.float()
            row.append(float((a - b).norm() / a.norm().clamp_min(1e-12)))
        values[kind] = tuple(row)
    return values


def _difference(
    student: Checkpoint, teacher: Checkpoint, differs: dict[str, tuple[int, ...]]
) -> list[Finding]:
    """Say where the two differ, and what to search if the gates do not."""
    found = []
    for kind, layers in differs.items():
        where = f"{len(layers)} layers differ" if layers else "equal in both: never searched"
        found.append(Finding("fine", kind, where))
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
            or not torch.equal(student.tensor(name), teacher.tensor(name))
        }
    )
    if same or not elsewhere:
        why = "student and teacher are the same model; nothing can be transplanted"
    else:
        why = f"no MLP site differs; what differs is {', '.join(elsewhere)}"
    return [*found, Finding("blocks", "difference", why)]


def kinds_that_differ(family: Family, differs: dict[str, tuple[int, ...]]) -> dict[str, list[int]]:
    """Kind of unit (groups too) -> layers in which any of its sites differs."""
    return {
        kind: sorted({layer for part in GROUPS[kind] for layer in differs.get(part, ())})
        for kind in family.kinds
    }
