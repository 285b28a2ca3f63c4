"""A mergekit recipe whose merge has the very tensors of the exported model.

Every changed tensor takes weight 1 of the teacher and 0 of the student, all others the reverse, and
nothing is normalised: mergekit divides by the sum of the weights otherwise, which gives NaN without
a word where both are 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub.utils import yaml_dump

from dapa.core.records import SettingError
from dapa.model.adapted import Adapted
from dapa.model.checkpoint import Checkpoint
from dapa.model.pair import Pair
from dapa.prompts.hub import is_hub_id
from dapa.share.card import command_of, public_name, told_of
from dapa.share.changed import Changed, changed_by
from dapa.share.evidence import Evidence
from dapa.share.folder import new_folder, put, refuse_existing
from dapa.share.model import Made, made_at

FILE = "mergekit.yml"
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


def export_recipe(pair: Pair, evidence: Evidence, to: Path | str) -> Made:
    """Write the recipe, with how to run it.

    Args:
        pair: As it is loaded.
        evidence: The mask and what is known of it.
        to: A folder that does not exist yet.

    Raises:
        SettingError: A mask that no recipe can say, and what to export instead.
    """
    refuse_existing(Path(to).expanduser())
    changed = changed_by(pair, evidence.mask)
    told = told_of(pair, changed.digests, evidence)
    text, notes = recipe(changed)
    readme = (
        f"# {public_name(pair.spec.student)} with {len(evidence.mask)} units of "
        f"{public_name(pair.spec.teacher)}, by mergekit\n\n```\nmergekit-yaml {FILE} DIR\n```\n\n"
        "gives the tensors of the model that\n\n```\n" + command_of(told, "model") + "\n```\n\n"
        "writes, and a card of mergekit's own. "
        + " ".join([*notes, "Weights are 0 or 1 and not normalised, so nothing becomes NaN."])
        + "\n"
    )
    with new_folder(to) as folder:
        put(folder / FILE, text)
        put(folder / "README.md", readme)
    return made_at("mergekit", Path(to), len(changed.tensors), tuple(notes))


def recipe(changed: Changed) -> tuple[str, list[str]]:
    """The recipe as YAML, and what to know of it."""
    if changed.untied:
        raise SettingError(
            "the student ties its head to its embeddings, which mergekit keeps; export a model"
        )
    strengths = {name: _strength(changed, name) for name in changed.tensors}
    dtypes = {changed.student.dtypes[name] for name in changed.student.shapes}
    ours = [{"filter": n, "value": round(1 - s, 12)} for n, s in strengths.items()]
    theirs = [{"filter": n, "value": s} for n, s in strengths.items()]
    body: dict[str, Any] = {
        "merge_method": "linear",
        "models": [
            {"model": _place(changed.student), "parameters": {"weight": [*ours, {"value": 1.0}]}},
            {"model": _place(changed.teacher), "parameters": {"weight": [*theirs, {"value": 0.0}]}},
        ],
        "parameters": {"normalize": False},
        "dtype": _DTYPES[sorted(dtypes, key=list(_DTYPES).index)[0]],
    }
    notes = []
    if any(s != 1.0 for s in strengths.values()):
        notes.append("Strengths below 1 are rounded by mergekit in its own order of adding.")
    if any(not is_hub_id(str(one["model"])) for one in body["models"]):
        notes.append("The recipe names folders of this machine.")
    return str(yaml_dump(body, sort_keys=False)), notes


def _strength(changed: Changed, name: str) -> float:
    """How much of one tensor is the teacher's: one value for all of it; SettingError else."""
    family, student = changed.pair.family, changed.student
    found: dict[tuple[int, int], float] = {}
    for site, strength in changed.sites:
        if not isinstance(strength, float):
            raise SettingError(
                f"a recipe moves whole tensors and {site} is moved in part (neurons, heads or a "
                "rank); export a model or a patch"
            )
        for stored in student.tensors_of(family, site).values():
            if name in stored.names or name in _twins(changed, stored.name):
                found[stored.share] = strength
    values = set(found.values())
    whole = sum(1 / parts for _, parts in found) > 0.999
    if len(values) != 1 or not whole:
        raise SettingError(
            f"a recipe moves whole tensors and only a part of {name} is moved; move all of it, or "
            "export a model or a patch"
        )
    return values.pop()


def _twins(changed: Changed, name: str) -> tuple[str, ...]:
    """A tied matrix's two names."""
    family = changed.pair.family
    both = tuple(
        family.named(f"{path}.weight", changed.student.shapes)
        for path in (family.embeddings, family.head)
    )
    return both if changed.student.tied and name in both else ()


def _place(checkpoint: Checkpoint) -> str:
    """What mergekit is told to read: a hub id, else a folder; a base and its adapter as BASE+IT."""
    if isinstance(checkpoint, Adapted):
        return f"{_place(checkpoint.base)}+{checkpoint.lora.folder.resolve()}"
    name = checkpoint.name
    return name if is_hub_id(name) and not Path(name).exists() else str(checkpoint.folder.resolve())
