"""The change as a LoRA in PEFT's format, where it is of low rank; the error is measured and told.

Each matrix's difference is cut by its singular values at the smallest rank that leaves no more
than `EXACT` of it, or at the rank that is allowed. What is left is part of the card; a change that
is not of low rank is refused, since an adapter would then be another model.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dapa.core.records import Mask, SettingError
from dapa.model.adapted import Adapted
from dapa.model.pair import Pair
from dapa.share.card import card, told_of
from dapa.share.changed import Changed, changed_by
from dapa.share.evidence import Evidence
from dapa.share.folder import new_folder, put, refuse_existing
from dapa.share.model import ORIGIN, Made, made_at, origin
from dapa.share.tensorfiles import Part, made, write_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
EXACT = 1e-5
"""Of a difference's norm: below it nothing is left to keep."""
MOST_LEFT = 0.05
"""Of a difference's norm: above it the change is not of low rank."""
PATIENCE = 2.0
"""Seconds for telling before the press whether a change is a LoRA's; the first matrix is always
looked at."""


_ROUTED = {"experts", "router", "shared_gate"}
"""Of a mixture: PEFT keeps these in a form of its own, or cannot load them."""


@dataclass(frozen=True)
class Cut:
    """One matrix's difference as a product: (out, rank) by (rank, in)."""

    a: Tensor
    b: Tensor
    left: float
    """Norm of what the product leaves, as a share of the difference's."""


def export_lora(pair: Pair, evidence: Evidence, to: Path | str, rank: int = 32) -> Made:
    """Write the adapter.

    Args:
        pair: As it is loaded.
        evidence: The mask and what is known of it.
        to: A folder that does not exist yet.
        rank: The rank of each matrix at most.

    Raises:
        SettingError: A change that is no LoRA's, and what to export instead.
    """
    refuse_existing(Path(to).expanduser())
    changed = changed_by(pair, evidence.mask)
    if never := _never(pair, changed):
        raise SettingError(f"{never}; export a patch or a model")
    told = told_of(pair, changed.digests, evidence)
    found = {name: _cut_of(changed, name, rank) for name in changed.tensors}
    name_of = changed.student.in_class
    cuts = {name_of(name): one for name, one in found.items() if one is not None}
    if not cuts:
        raise SettingError("these units are the same in both models; there is nothing to export")
    worst = max(cuts, key=lambda name: cuts[name].left)
    if cuts[worst].left > MOST_LEFT:
        raise SettingError(
            f"the change is not of low rank: at rank {rank} {100 * cuts[worst].left:.0f} % of "
            f"{worst}'s difference is left; export a patch, or give a higher --rank to `export`"
        )
    ranks = {name: cut.a.shape[0] for name, cut in cuts.items()}
    low, high = min(ranks.values()), max(ranks.values())
    left = cuts[worst].left
    note = (
        f"{f'Rank {high}' if low == high else f'Ranks {low} to {high}'}; at most "
        f"{f'{100 * left:.2g}' if left >= 1e-4 else '0.01'} % of a matrix's difference (its norm) "
        "is left out, in "
        f"{worst}. The rates on this page are of the exact weights."
    )
    head, _, rest = card(told, "lora").partition("\n\nUnits:")
    with new_folder(to, sum(c.a.nbytes + c.b.nbytes for c in cuts.values())) as folder:
        write_file(folder / WEIGHTS, _parts(cuts), {"format": "pt"})
        put(folder / CONFIG, _config(changed, ranks, told.student))
        put(folder / "README.md", f"{head}\n\n{note}\n\nUnits:{rest}")
        put(folder / ORIGIN, origin(told))
    return made_at("lora", Path(to), len(cuts), (note,))


def _never(pair: Pair, changed: Changed) -> str:
    """Why no rank at all would make this change a LoRA's; empty where one may."""
    if isinstance(changed.student, Adapted):
        return "the student has an adapter already"
    routed = {site.module for site, _ in changed.sites} & _ROUTED & {*pair.family.mixture}
    return f"a LoRA holds no {' and no '.join(sorted(routed))} of a mixture" if routed else ""


def no_lora(pair: Pair, mask: Mask, rank: int = 32) -> str:
    """Why the change is surely no LoRA's, told by as many matrices as `PATIENCE` allows for.

    Args:
        pair: As it is loaded.
        mask: What is transplanted.
        rank: The rank of each matrix at most.

    Returns:
        A line for people; empty where those matrices do not tell.

    Raises:
        DapaError: As `export_lora`, of a mask or of files that cannot be exported at all.
    """
    changed = changed_by(pair, mask)
    if never := _never(pair, changed):
        return never
    until = time.monotonic() + PATIENCE
    for name, made_by in changed.tensors.items():
        if time.monotonic() > until:
            break
        old, new = changed.student.tensor(name), made_by()
        if torch.equal(old.to(new.dtype), new):
            continue
        if old.dim() != 2:
            return f"a LoRA holds differences of layers' matrices and {name} is none"
        left = left_at_best(new.float() - old.float(), rank)
        if left > 2 * MOST_LEFT:  # an estimate: the press itself measures
            return f"at rank {rank} it would leave out some {100 * left:.0f} % of a matrix's change"
    return ""


def left_at_best(difference: Tensor, rank: int, rounds: int = 3) -> float:
    """What the best product of a rank leaves of a difference's norm, nearly; costs few products.

    A random sketch (Halko, Martinsson and Tropp, 2011): it finds no more than there is to be kept.
    """
    random = torch.Generator().manual_seed(0)
    size = float(difference.norm()) or 1.0
    span = torch.randn(difference.shape[1], rank + 16, generator=random)
    for _ in range(rounds):
        span = difference.T @ torch.linalg.qr(difference @ span).Q
    kept = torch.linalg.svdvals(torch.linalg.qr(span).Q.T @ difference.T)[:rank]
    return math.sqrt(max(0.0, 1.0 - float(kept.double().norm() / size) ** 2))


def _cut_of(changed: Changed, name: str, rank: int) -> Cut | None:
    """A tensor's difference as a product; None where there is none, as of an equal bias."""
    old, new = changed.student.tensor(name), changed.tensors[name]()
    if torch.equal(old.to(new.dtype), new):
        return None
    if old.dim() != 2 or not name.endswith(".weight") or changed.untied or _ends(changed, name):
        raise SettingError(
            f"a LoRA holds differences of layers' matrices and {name} is none; export a patch"
        )
    return cut(new.double() - old.double(), rank, changed.pair.family.turned != ())


def _ends(changed: Changed, name: str) -> bool:
    family = changed.pair.family
    ends = (f"{family.embeddings}.weight", f"{family.head}.weight")
    return name in [family.named(one, changed.student.shapes) for one in ends]


def cut(difference: Tensor, rank: int, turned: bool = False) -> Cut:
    """The best product of a rank at most.

    Args:
        difference: (out, in); (in, out) where `turned`.
        rank: At most.
        turned: Does the model keep its matrices turned, as GPT-2 does?
    """
    whole = difference.T if turned else difference
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    size = float(s.norm()) or 1.0
    left = (s.square().flip(0).cumsum(0).flip(0)).sqrt() / size  # left[i]: without the first i
    enough = int((left > EXACT).sum())
    kept = max(1, min(rank, enough))
    root = s[:kept].sqrt()
    b, a = (u[:, :kept] * root).float(), (root[:, None] * v[:kept]).float()
    rest = float((whole - b.double() @ a.double()).norm()) / size
    return Cut(a.contiguous(), b.contiguous(), rest)


def _parts(cuts: Mapping[str, Cut]) -> list[Part]:
    parts = []
    for name, one in cuts.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        for letter, tensor in (("A", one.a), ("B", one.b)):
            parts.append(_part(f"{stem}.lora_{letter}.weight", tensor))
    return parts


def _part(name: str, tensor: Tensor) -> Part:
    return made(name, tensor.dtype, tensor.shape, lambda: tensor)


def _config(changed: Changed, ranks: Mapping[str, int], base: str) -> str:
    """PEFT's own file: scale 1 for every matrix, so that A and B are the difference itself."""
    modules = {name.removesuffix(".weight"): rank for name, rank in ranks.items()}
    most = max(modules.values())
    own = {name: rank for name, rank in modules.items() if rank != most}
    body = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": bool(changed.pair.family.turned),
        "inference_mode": True,
        "lora_alpha": most,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": most,
        "rank_pattern": own,
        "alpha_pattern": own,
        "target_modules": sorted(modules),
        "task_type": "CAUSAL_LM",
    }
    return json.dumps(body, indent=2) + "\n"
