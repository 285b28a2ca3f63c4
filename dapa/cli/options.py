"""The options that commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapa.core.masks import Mask
from dapa.core.masks import parse_layers as parse_layers
from dapa.core.masks import parse_units as parse_units
from dapa.core.records import SettingError
from dapa.core.settings import Settings, setting

if TYPE_CHECKING:
    from dapa.workbench import PairOptions, PairSpec

PairName = Annotated[
    str | None, typer.Option("--pair", help="A named pair, such as toy-gate (the default).")
]
Student = Annotated[
    str | None, typer.Option(help="Folder or hub id of the model that receives weights.")
]
Teacher = Annotated[
    str | None, typer.Option(help="Folder or hub id of the model that gives weights.")
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, cuda:all, mps or xpu.")]
Memory = Annotated[
    str,
    typer.Option(
        help="full: both models; lean: of the teacher only the sites asked for (lean:gate,up names "
        "them); low-rank: the student and an adapter beside it, where the teacher is that; "
        "offload: layers stay in the machine's memory and visit the device one by one; "
        "auto: what fits."
    ),
]
SITES = (
    "What to transplant: gate, up, down, mlp, attention (or q, k, v, o), heads, kv, norms, "
    "layer, embeddings, final_norm, head, several such as heads,kv, or all (each by itself)."
)
UNITS = (
    "Instead of --layers: units by name, as in 3.gate,5.attention@0.5,7.gate[0:64],3.head[7],head; "
    "@ gives a strength, [a:b] a block of neurons, head[7] an attention head, kv[1] a head of keys "
    "and values, ~8 the eight strongest directions, 3-6.mlp a range of layers."
)
UNITS = (
    "Instead of --layers: units by name, as in 3.gate,5.attention@0.5,7.gate[0:64],3.head[7],head; "
    "@ gives a strength, [a:b] a block of neurons, head[7] an attention head, kv[1] a head of keys "
    "and values, ~8 the eight strongest directions, 3-6.mlp a range of layers."
)
Sites = Annotated[str, typer.Option(help=SITES)]
Units = Annotated[
    str,
    typer.Option(help=UNITS),
]
Layers = Annotated[
    str, typer.Option(help="0-based layers, such as 3,5 or 3-6; empty is the student itself.")
]
Prompts = Annotated[
    str | None, typer.Option(help="Harmful prompts: a file, or a bundled set's name.")
]
PromptColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of a prompt file that holds the prompts, where its name does not tell; a "
        "further file without it is read as usual.",
    ),
]
Harmless = Annotated[
    str | None, typer.Option(help="Harmless prompts: a file, or a bundled set's name.")
]
PromptLimit = Annotated[
    int | None, typer.Option(help="At most so many prompts, drawn by category and seed.")
]
MaxNewTokens = Annotated[int, typer.Option(help="Tokens of a reply at most.")]
PriorName = Annotated[
    str | None,
    typer.Option(
        "--prior",
        help="What `weighted` and `top-k` follow: divergence, gradient, single or weights.",
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        help="Cut each gate, up and down into so many blocks of neurons (hierarchical: 8)."
    ),
]
Seed = Annotated[int, typer.Option(help="Splits, samples and random choices follow it.")]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the result as JSON; - is the standard output, which then holds nothing else.",
    ),
]
RunDir = Annotated[Path, typer.Option(help="Folder in which runs and verdicts are kept.")]


@dataclass(frozen=True, kw_only=True)
class KindOptions(Settings):
    """Which units: all of a kind, or of several."""

    sites: str = setting("gate", "kind of site", SITES)


@dataclass(frozen=True, kw_only=True)
class MaskOptions(Settings):
    """What is transplanted: layers of a kind of site, or units by name."""

    layers: str | None = setting(
        None, "layers", "0-based layers, such as 3,5 or 3-6; empty is the student itself."
    )
    sites: str = setting("gate", "kind of site", SITES)
    units: str = setting(
        "",
        "units",
        UNITS,
    )

    @property
    def names(self) -> bool:
        """Is anything named, be it nothing at all?"""
        return self.layers is not None or bool(self.units.strip())

    def mask(self) -> Mask:
        """What is transplanted; SettingError for what no pair could have, or for both ways."""
        return chosen_mask(self.layers or "", self.sites, self.units)


def mask_of(layers: Iterable[int], kind: str) -> Mask:
    """These layers' units of one kind, or of several, at full strength; SettingError for none."""
    from dapa.workbench import units_for

    return Mask.of(units_for(kind, layers))


def chosen_mask(layers: str, sites: str, units: str) -> Mask:
    """What --layers with --sites, or --units, transplant.

    Raises:
        SettingError: For what no pair could have, or for both.
    """
    mask = mask_of(parse_layers(layers), sites)
    if not units.strip():
        return mask
    if layers.strip():
        raise SettingError("give --layers or --units, not both")
    return parse_units(units)


def spec_of(
    pair: str | None,
    student: str | None,
    teacher: str | None,
    dtype: str,
    device: str,
    memory: str = "auto",
    sites: str = "",
    units: str = "",
) -> PairSpec:
    """What to load; where memory is lean, the sites that a command is to move are kept.

    Raises:
        DapaError: What is not clear, or does not exist.
    """
    from dapa.workbench import Workbench

    named = dict.fromkeys(unit.kind for unit in parse_units(units)) or dict.fromkeys(
        filter(None, (kind.strip() for kind in sites.split(",")))
    )
    if (
        list(named) not in ([], ["gate"])
        and memory not in ("full", "low-rank")
        and ":" not in memory
    ):
        memory = f"{memory}:{','.join(named)}"
    return Workbench.spec(pair, student, teacher, dtype, device, memory)


def spec_for(pair: PairOptions, sites: str = "", units: str = "") -> PairSpec:
    """What to load; where memory is lean, the sites that a command is to move are kept."""
    from dapa.workbench import Workbench

    given = pair.as_dict()
    trusted = given.pop("trust_structure")
    spec = spec_of(**given, sites=sites, units=units)
    if trusted:
        Workbench.trust_structure(spec)
    return spec


def lasting(file: str | None) -> str | None:
    """A file's absolute path, so that a run can be resumed from another folder."""
    if file is not None and Path(file).exists():
        return str(Path(file).resolve())
    return file
