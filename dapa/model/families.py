"""What a family is: where an architecture keeps its layers and sites; and units as sites.

Paths are attribute paths below the causal language model (`layers`, `norm`, ...) or below one
decoder layer (`sites`, `attention`, `mlp`), once `linears.plain` has made one linear of each site.
The rows stand in `architectures`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

from dapa.core.masks import HEADS
from dapa.core.records import ENDS, OUTSIDE, SettingError, Site, Unit

MIXTURE = ("experts", "router", "shared", "shared_gate")
"""What a mixture of experts has for an MLP. These move whole: a router chooses, so that nothing
lies between two of them, and blended experts would be read by tokens that neither would get."""
_CUT = ("gate", "up", "down")
_MLP = (*_CUT, *MIXTURE)
_ATTENTION = ("q", "k", "v", "qkv", "o", "q_norm", "k_norm")
_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
GROUPS: Mapping[str, tuple[str, ...]] = {
    **{kind: (kind,) for kind in _MLP},
    "mlp": _MLP,
    **{kind: (kind,) for kind in _ATTENTION},
    "attention": _ATTENTION,
    "heads": ("q", "qkv", "o"),
    "kv": ("k", "v", "qkv"),
    **{kind: (kind,) for kind in _NORMS},
    "norms": _NORMS,
    "layer": (*_MLP, *_ATTENTION, *_NORMS),
    **{kind: (kind,) for kind in ENDS},
}
"""Kind of unit -> the kinds of site it moves under one value, as far as the family has them. Whole
MLP is a group, so that a blend is a blend of weights, not of outputs. Of `qkv`, `heads` and `kv`
move their own rows only (`heads.HeadShape`)."""

ALL = "all"
"""Stands for every kind of site, each by itself; it is no kind of unit."""

BLOCKS = (*_CUT, "mlp")
"""The kinds that can be cut into blocks of neurons: those whose neurons are the MLP's."""

MATRICES = (*_MLP, "q", "k", "v", "qkv", "o")
"""The kinds of site that can be moved at a rank."""

KIND_TITLES: Mapping[str, str] = {
    **{kind: kind.replace("_", " ") for kind in GROUPS},
    "mlp": "whole MLP",
    "experts": "routed experts",
    "shared": "shared expert",
    "shared_gate": "shared expert's gate",
    "q": "query",
    "k": "key",
    "v": "value",
    "qkv": "query, key and value",
    "o": "attention output",
    "q_norm": "query norm",
    "k_norm": "key norm",
    "attention": "whole attention",
    "heads": "attention heads (query and output)",
    "kv": "key and value heads",
    "input_layernorm": "input norm",
    "post_attention_layernorm": "norm after attention",
    "pre_feedforward_layernorm": "norm before MLP",
    "post_feedforward_layernorm": "norm after MLP",
    "norms": "all norms",
    "layer": "whole layer",
    ALL: "every site by itself",
}


Sites = tuple[tuple[str, str], ...]
"""(kind, path below one decoder layer) of each site."""
GATED: Sites = (("gate", "mlp.gate_proj"), ("up", "mlp.up_proj"), ("down", "mlp.down_proj"))
SPLIT: Sites = tuple((kind, f"self_attn.{kind}_proj") for kind in "qkvo")
BEFORE: Sites = tuple((kind, kind) for kind in _NORMS[:2])
"""Llama's norms: before attention, and (by its name behind it) before the MLP."""


@dataclass(frozen=True)
class Stored:
    """Where a checkpoint keeps one parameter of a site: a tensor, or an equal part of its rows.

    Of stacked experts, which many files keep one by one, it may be several tensors.
    """

    name: str
    share: tuple[int, int] = (0, 1)
    """Which of how many equal parts of the rows."""
    turned: bool = False
    """Does it stand as (inputs, outputs), as GPT-2 has it?"""
    stack: tuple[tuple[str, ...], ...] = ()
    """Per expert, the tensors whose rows are its own; `name` is the first of them then."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor that it is made of."""
        return tuple(name for each in self.stack for name in each) or (self.name,)

    def shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The parameter's shape, those of the tensors in `names` being `shapes`."""
        whole = shapes[0]
        if self.stack:
            rows = sum(shape[0] for shape in shapes) // len(self.stack)
            return (len(self.stack), rows, *whole[1:])
        part = (whole[0] // self.share[1], *whole[1:])
        return part[::-1] if self.turned else part

    def take(self, whole: Any) -> Any:
        """The parameter, out of the tensor: a view."""
        rows = whole.shape[0] // self.share[1]
        part = whole[rows * self.share[0] : rows * (self.share[0] + 1)]
        return part.T if self.turned and part.dim() > 1 else part


@dataclass(frozen=True)
class Family:
    """One architecture's addresses."""

    model_type: str
    """`model_type` of its config.json."""
    title: str
    layers: str = "model.layers"
    sites: tuple[tuple[str, str], ...] = (*GATED, *SPLIT, *BEFORE)
    attention: str = "self_attn"
    mlp: str = "mlp"
    embeddings: str = "model.embed_tokens"
    norm: str = "model.norm"
    """The norm before the head, which the logit lens applies."""
    head: str = "lm_head"
    by_group: bool = False
    """Do the rows of its `qkv` stand group by group (a group's queries, its key, its value), not
    all queries first?"""
    fused: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(path, kinds): one linear whose rows are these sites', in equal parts one behind another."""
    turned: tuple[str, ...] = ()
    """Kinds whose weights stand as (inputs, outputs): GPT-2's Conv1D."""
    optional: tuple[tuple[str, Callable[[Any], bool]], ...] = ()
    """(path, told a config): a site that is there only in some models of the architecture."""
    bare_norm: bool = False
    """Has the final norm no weights, so that it is no site?"""
    also: tuple[tuple[str, str], ...] = ()
    """(what a name begins with, what it begins with in some files instead)."""
    tuples: bool = False
    """Do its layers return a tuple, states first?"""
    banded: bool = False
    """Does attention go by places in the row, be it how far it slides or by how much it fades
    (ALiBi), so that no tree of beginnings can stand behind a prompt?"""
    inner: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(kind, its parameters' names), where these are not a weight and a bias."""
    each: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(parameter of the experts, what each expert calls its rows in files that part them)."""
    beside: tuple[str, ...] = ()
    """Parameters of a layer that belong to no site, so that they stay the student's."""
    uneven: Callable[[Any], str] | None = None
    """Told a config: why its layers are not all alike; empty where they are."""
    own_code: bool = False
    """Do official checkpoints name code of their own, although transformers has the architecture?
    Transformers' is used; theirs is never run."""

    def site_path(self, kind: str) -> str:
        """Where a layer keeps its site of this kind; an end's path is below the model."""
        return {**dict(self.sites), **dict(self.ends)}[kind]

    @property
    def ends(self) -> tuple[tuple[str, str], ...]:
        """The sites outside of the layers, as (kind, path below the model)."""
        every = zip(ENDS, (self.embeddings, self.norm, self.head), strict=True)
        return tuple((kind, p) for kind, p in every if not (self.bare_norm and p == self.norm))

    @property
    def single(self) -> tuple[str, ...]:
        """The kinds of site that this family has."""
        return tuple(kind for kind, _ in (*self.sites, *self.ends))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of unit this family offers."""
        return tuple(kind for kind in GROUPS if self.parts(kind))

    @property
    def first(self) -> str:
        """What the paper moves, as far as the family has it: the gate, else the up projection.

        A mixture's gates stand inside its experts.
        """
        return next(kind for kind in ("gate", "experts", "up") if kind in self.single)

    @property
    def mixture(self) -> tuple[str, ...]:
        """The parts of its mixture of experts, which move whole; none in most families."""
        return tuple(kind for kind in MIXTURE if kind in self.single)

    def parts(self, kind: str) -> tuple[str, ...]:
        """The kinds of site that a unit of this kind moves here."""
        have = self.single
        return tuple(part for part in GROUPS[kind] if part in have)

    def path(self, site: Site) -> str:
        """Where the model keeps a site."""
        inside = self.site_path(site.module)
        return inside if site.layer == OUTSIDE else f"{self.layers}.{site.layer}.{inside}"

    def parameters(self, kind: str) -> tuple[str, ...]:
        """What a site's parameters are called: a weight and perhaps a bias, or as `inner` says."""
        return dict(self.inner).get(kind, ("weight", "bias"))

    def stored(self, site: Site, parameter: str = "weight") -> Stored:
        """Where checkpoints keep a site's parameter, as the loaded model calls it."""
        turned = site.module in self.turned
        for path, kinds in self.fused:
            if site.module in kinds:
                name = f"{self.layers}.{site.layer}.{path}.{parameter}"
                return Stored(name, (kinds.index(site.module), len(kinds)), turned)
        return Stored(f"{self.path(site)}.{parameter}", turned=turned)

    def weight_name(self, site: Site) -> str:
        """The checkpoint's name of the tensor that holds the site's weight, or its first part."""
        return self.stored(site, self.parameters(site.module)[0]).name

    def named(self, name: str, names: Collection[str]) -> str:
        """What a file that holds these `names` calls a tensor."""
        if name in names:
            return name
        return next((other for other in self._other(name) if other in names), name)

    def _other(self, name: str) -> Iterator[str]:
        for ours, theirs in self.also:
            if ours.startswith("."):  # a step on the way
                yield name.replace(ours, theirs, 1)
            elif name.startswith(ours):
                yield theirs + name.removeprefix(ours)

    def found(self, site: Site, parameter: str, names: Collection[str]) -> Stored | None:
        """Where a file that holds these `names` keeps a site's parameter; None where it does not.

        Experts are looked for as one tensor, and then one by one.
        """
        stored = self.stored(site, parameter)
        stored = replace(stored, name=self.named(stored.name, names))
        if stored.name in names:
            return stored
        rows = dict(self.each).get(parameter) if site.module == "experts" else None
        if rows is None:
            return None
        stack: list[tuple[str, ...]] = []
        while True:
            here = [f"{self.path(site)}.{len(stack)}.{row}" for row in rows]
            own = tuple(self.named(name, names) for name in here)
            if not all(name in names for name in own):
                return Stored(stack[0][0], stack=tuple(stack)) if stack else None
            stack.append(own)

    def places(self, layers: int) -> tuple[Site, ...]:
        """Every site of a model with so many layers, in the order of the stream."""
        inside = [Site(layer, kind) for layer in range(layers) for kind, _ in self.sites]
        first, *last = (Site(OUTSIDE, kind) for kind, _ in self.ends)
        return (first, *inside, *last)

    def fitted(self, config: Any) -> Family:
        """This family as a model of this config has it: sites that it lacks are left out."""
        out = {path for path, there in self.optional if not there(config)}
        banded = self.banded or bool(getattr(config, "alibi", False))
        if not out and banded == self.banded:
            return self
        sites = tuple((kind, path) for kind, path in self.sites if path not in out)
        return replace(self, sites=sites, banded=banded)


def submodule(root: Any, path: str) -> Any:
    """Follow an attribute path; the empty path is the root itself."""
    return reduce(getattr, filter(None, path.split(".")), root)


@lru_cache(maxsize=65536)
def sites_of(unit: Unit) -> tuple[Site, ...]:
    """The sites that a unit moves, those that its family lacks among them."""
    if unit.kind not in GROUPS:
        raise SettingError(f"{unit.kind!r} is not a kind of site; choose {', '.join(GROUPS)}")
    return tuple(Site(unit.layer, module) for module in GROUPS[unit.kind])


def units_for(kind: str, layers: Iterable[int]) -> tuple[Unit, ...]:
    """One whole unit of `kind` per layer; an end is one unit, whatever the layers.

    A list such as `gate,up` gives a unit of each kind per layer; `all` moves whole layers.

    Raises:
        SettingError: A kind that does not exist, or two that share sites.
    """
    kinds = ("layer",) if kind == ALL else kinds_of(kind)
    inside = [Unit(layer, kind) for layer in layers for kind in kinds if kind not in ENDS]
    outside = [Unit(OUTSIDE, kind) for kind in kinds if kind in ENDS]
    return (*inside, *outside)


def kinds_of(text: str) -> tuple[str, ...]:
    """`gate`, `gate,attention` or `all` as kinds of unit that share no site; SettingError else."""
    if text == ALL:
        return tuple(kind for kind, parts in GROUPS.items() if parts == (kind,))
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for kind in kinds:
        if kind not in GROUPS:
            raise SettingError(
                f"{kind!r} is not a kind of site; choose one of {', '.join(GROUPS)} or {ALL}"
            )
    taken: dict[str, str] = {}
    for kind in kinds:
        for part in GROUPS[kind]:
            if part in taken and not {kind, taken[part]} <= HEADS.keys():
                raise SettingError(f"{taken[part]} and {kind} both move the {part}; name one")
            taken[part] = kind
    return kinds


def kind_title(text: str) -> str:
    """What people call one kind of unit, or a list of them."""
    return ", ".join(KIND_TITLES.get(kind, kind) for kind in text.split(","))
