"""Planted pairs: tiny models in which refusal appears exactly under the masks we chose.

Built by hand, without training (how is told in `wiring`). In each needed layer one gate neuron
writes to a refusal sum; only the whole sum makes the head refuse. Every other gate differs as
strongly, but without effect, so the size of a difference gives nothing away.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dapa.core.records import Site
from dapa.model.architectures import FAMILIES
from dapa.model.families import Family
from dapa.model.pair import Pair
from dapa.model.spec import FACTS, PairSpec
from dapa.planted.anatomy import parallel
from dapa.planted.heads import plant_heads
from dapa.planted.planting import Planting
from dapa.planted.vocabulary import HARMFUL, HARMLESS, SHORT, Script, planted_tokenizer, requests
from dapa.planted.wiring import TINY, ModelShape, attend, blank, differ, embed_and_read, weigh_words


@dataclass(frozen=True)
class PlantedModels:
    """Student and teacher as plain, unwrapped models, and their one tokenizer."""

    student: Any
    teacher: Any
    tokenizer: Any
    family: Family
    planting: Planting

    @property
    def facts(self) -> dict[str, list[int]]:
        """Kind of site -> the planted layers, as a bundled pair tells them."""
        gates, *others = self.planting.facts.items()
        return {self.family.first: gates[1], **dict(others)}

    def pair(self, name: str = "planted") -> Pair:
        """Wrap them; the models belong to the pair from here on."""
        digest = f"{name}:{_digest(self.student)}:{_digest(self.teacher)}"
        weight = self.student.get_input_embeddings().weight
        dtype = str(weight.dtype).removeprefix("torch.")
        spec = PairSpec(
            "planted-student", "planted-teacher", name, dtype, weight.device.type,
            planted=self.facts,
        )  # fmt: skip
        return Pair(
            self.student, self.teacher, self.tokenizer, self.tokenizer, self.family, spec, digest
        )

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write both as Hugging Face folders, `student` and `teacher`."""
        for role, model in (("student", self.student), ("teacher", self.teacher)):
            model.save_pretrained(folder / role)
            self.tokenizer.save_pretrained(folder / role)
            facts = json.dumps(self.facts)
            (folder / role / FACTS).write_text(facts, encoding="utf-8")
        return folder / "student", folder / "teacher"


def plant(
    planting: Planting,
    model_type: str = "llama",
    seed: int = 0,
    shape: ModelShape = TINY,
    script: Script = SHORT,
    *,
    shared: bool = False,
) -> PlantedModels:
    """Build a planted pair of one family.

    Args:
        planting: Which layers do what.
        model_type: A row of `FAMILIES`.
        seed: Draws everything that carries no meaning: junk weights, neuron places.
        shape: How large the models are, in which precision, and where.
        script: What they can read and say.
        shared: Give the teacher the student's own tensors where they are equal, from the start:
            for models of which only one and a bit fit.
    """
    family = FAMILIES[model_type]
    assert not (parallel(family) and 0 in planting.roles), (
        f"{family.title}'s layer 0 sees no harm flag"
    )
    generator = torch.Generator(shape.device).manual_seed(seed)
    tokenizer = planted_tokenizer(script)
    junk = shape.junk(script)
    student = blank(family, planting.layers, tokenizer, shape, script)
    family = family.fitted(student.config)
    embed_and_read(student, family, tokenizer, planting, script)
    for layer in range(planting.layers):
        attend(student, family, layer, generator, junk)
        if layer == 0 and planting.votes:
            weigh_words(student, family, tokenizer, planting)
    fine = bool(planting.heads or planting.kv)
    own = dict(student.named_parameters())
    kinds = [family.first, *(k for k in ("q", "k", "v", "qkv", "o") if fine and k in family.single)]
    every = {
        family.stored(Site(layer, kind), part).name
        for layer in range(planting.layers)
        for kind in kinds
        for part in family.parameters(kind)
    }
    apart = {id(own[name]) for name in every if name in own}
    kept = {id(p): p for p in student.parameters() if shared and id(p) not in apart}
    teacher = deepcopy(student, kept)  # what deepcopy finds among `kept` it does not copy
    for layer in range(planting.layers):
        differ(student, teacher, family, layer, planting, generator, junk)
        if fine and layer:
            plant_heads(student, teacher, family, layer, planting, generator, junk)
    return PlantedModels(student, teacher, tokenizer, family, planting)


def harmful_prompts(count: int, seed: int = 0) -> list[str]:
    """Requests with a harmful word, in words that the planted tokenizer knows."""
    return _prompts(count, seed, HARMFUL)


def harmless_prompts(count: int, seed: int = 0) -> list[str]:
    """The same requests with a harmless word in the harmful one's place."""
    return _prompts(count, seed, HARMLESS)


def _prompts(count: int, seed: int, objects: tuple[str, ...]) -> list[str]:
    every = requests(objects)
    assert count <= len(every), f"only {len(every)} different prompts can be made"
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[i] for i in order[:count].tolist()]


def _digest(model: Any) -> str:
    """A fingerprint of every weight, so that two plantings never share stored verdicts."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in model.named_parameters():
        digest.update(name.encode())
        part = weight.detach().flatten()[: 2**16] if weight.numel() > 2**24 else weight.detach()
        digest.update(part.float().cpu().numpy().tobytes())
    return digest.hexdigest()


__all__ = [
    "PlantedModels",
    "Planting",
    "harmful_prompts",
    "harmless_prompts",
    "plant",
]
