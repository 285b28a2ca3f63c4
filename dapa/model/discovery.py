"""A family that no row describes: its structure found from its modules, and proven on numbers.

The model is built without weights (on the meta device); one layer's MLP is then given random ones,
and what is claimed of it, y = down(act(gate(x)) * up(x)) or y = down(act(up(x))), is held against
what it computes. A name is never evidence for the gate. What is found is shown, and used only once
a person said so (`learn`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.activations import ACT2FN

from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.architectures import FAMILIES
from dapa.model.checkpoint import Checkpoint
from dapa.model.families import Family, Sites

_WHERE = "choose another model, or add a row in dapa/model/architectures.py"
_ENOUGH = 1e-4
"""How far, relative to its size, the MLP's output may be from the formula's."""
_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


@dataclass(frozen=True)
class Structure:
    """What was found of an architecture."""

    family: Family
    formula: str
    """What the MLP computes, in its modules' names."""
    error: float
    """How far the formula was from the module, relative to the output's size."""

    @property
    def told(self) -> str:
        """One line for people."""
        sites = ", ".join(f"{kind} {path}" for kind, path in self.family.sites)
        return (
            f"layers at {self.family.layers}, {self.formula} (tried on random numbers: off by "
            f"{self.error:.0e}), sites {sites}"
        )


def discover(checkpoint: Checkpoint) -> Structure:
    """Find the structure of a checkpoint's architecture.

    Raises:
        PairError: What could not be found, in one line, and where to add the row.
    """
    name = checkpoint.model_type
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                checkpoint.settings, dtype=torch.float32, trust_remote_code=False
            )
    except Exception as error:  # each architecture raises a kind of its own
        raise PairError(
            f"model_type {name!r} is not a supported family, and transformers cannot build it as "
            f"a model that writes text ({gist(error)}); {_WHERE}"
        ) from error
    return structure_of(model.eval(), name)


def structure_of(model: Any, name: str) -> Structure:
    """Find the structure of a model, whose weights are not looked at; PairError as `discover`."""

    def missing(what: str) -> PairError:
        return PairError(f"model_type {name!r} is not a supported family: {what}; {_WHERE}")

    if getattr(model, "_is_stateful", False):  # transformers' word for recurrent layers
        raise PairError(
            f"model_type {name!r} is not a supported family: its layers carry a state from token "
            "to token, and what is kept here of a row is its keys and values; choose another model"
        )
    names = {id(module): path for path, module in model.named_modules()}
    count = int(model.config.get_text_config().num_hidden_layers)
    stacks = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and len({type(layer) for layer in module}) == 1
        and any(isinstance(part, nn.Linear) for part in module[0].modules())
    ]
    if len(stacks) != 1:
        raise missing(f"{len(stacks)} lists of {count} equal layers were found, not one")
    path, stack = stacks[0]
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    if any(end is None or id(end) not in names for end in ends):
        raise missing("its embeddings or its head were not found")
    above = model.get_submodule(path.rpartition(".")[0])
    norms = [p for p, m in above.named_children() if _is_norm(m)]
    if not norms:
        raise missing("no norm was found behind its last layer")
    layer = stack[0]
    blocks = {
        p: m
        for p, m in layer.named_children()
        if any(isinstance(x, nn.Linear) for x in m.modules())
    }
    tried = {p: _mlp(m, model.config.get_text_config()) for p, m in blocks.items()}
    found = {p: hit for p, hit in tried.items() if hit is not None}
    if len(found) != 1 or len(blocks) != 2:
        raise missing(
            f"of a layer's blocks {', '.join(blocks) or 'none'}, {len(found)} compute "
            "down(act(gate(x)) * up(x)) or down(act(up(x))), and one has to, beside attention"
        )
    (mlp, (parts, formula, error)) = next(iter(found.items()))
    (attention,) = blocks.keys() - {mlp}
    if chooser := _chooser(blocks[attention]):
        raise missing(
            f"its attention holds {chooser}, a part with weights of its own beside the "
            "projections, and what that does or keeps of a row is not known here"
        )
    for index, other in enumerate(stack):
        kinds = {type(getattr(each, mlp, None)).__name__ for each in (layer, other)}
        if len(kinds) > 1:
            raise missing(
                f"layer {index} has another MLP than layer 0 ({' and '.join(sorted(kinds))}), and "
                "layers of two kinds are not supported"
            )
    sites: Sites = tuple((kind, f"{mlp}.{part}") for kind, part in parts.items())
    linears = {p for p, m in blocks[attention].named_children() if isinstance(m, nn.Linear)}
    if linears == {f"{kind}_proj" for kind in "qkvo"}:
        sites += tuple((kind, f"{attention}.{kind}_proj") for kind in "qkvo")
    sites += tuple(
        (p, p) for p, m in layer.named_children() if p in _NORMS and list(m.parameters())
    )
    prefix = path.rpartition(".")[0]
    final = f"{prefix}.{norms[-1]}" if prefix else norms[-1]
    family = Family(
        name,
        name,
        layers=path,
        sites=sites,
        attention=attention,
        mlp=mlp,
        embeddings=names[id(ends[0])],
        norm=final,
        head=names[id(ends[1])],
        bare_norm=not list(model.get_submodule(final).parameters()),
    )
    return Structure(family, formula, error)


def learn(checkpoint: Checkpoint) -> Structure | None:
    """Take a checkpoint's structure for a family from here on: somebody saw it and trusts it.

    Returns:
        What was found; None for a family that has a row.
    """
    name = checkpoint.model_type
    if name in FAMILIES:
        return None
    found = discover(checkpoint)
    FAMILIES[name] = found.family
    return found


def _chooser(attention: nn.Module) -> str:
    """A part of the attention with weights of its own beside the projections; empty if none."""
    parts = [(p, m) for p, m in attention.named_children() if not isinstance(m, nn.Linear)]
    beside = [p for p, m in parts if any(isinstance(x, nn.Linear) for x in m.modules())]
    direct = len(parts) < len(list(attention.children()))
    return beside[0] if beside and direct else ""


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not list(module.children())


_Found = tuple[dict[str, str], str, float]


def _mlp(block: nn.Module, config: Any) -> _Found | None:
    """Which of a block's linears are gate, up and down, if it computes what an MLP does."""
    linears = {p: m for p, m in block.named_children() if isinstance(m, nn.Linear)}
    if len(linears) not in (2, 3) or sum(isinstance(m, nn.Linear) for m in block.modules()) > 3:
        return None
    generator = torch.Generator().manual_seed(0)
    block = block.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.3, generator=generator)
        x = torch.randn(3, 5, int(config.hidden_size), generator=generator)
        try:
            y = block(x)
        except Exception:  # attention needs more than states
            return None
        if not isinstance(y, Tensor) or y.shape != x.shape:
            return None
        for parts, formula, compute in _claims(linears, block, config):
            try:
                off = float((compute(x) - y).norm() / y.norm())
            except (RuntimeError, TypeError):  # shapes do not fit, or it is no activation
                continue
            if off < _ENOUGH:
                return parts, formula, off
    return None


def _claims(
    linears: dict[str, nn.Linear], block: nn.Module, config: Any
) -> Iterator[tuple[dict[str, str], str, Callable[[Tensor], Tensor]]]:
    """Everything that the block may compute: which linear is which, under which activation."""
    named = (getattr(config, key, None) for key in _ACTIVATIONS)
    acts: list[tuple[str, Any]] = [(n, ACT2FN[n]) for n in named if isinstance(n, str)]
    own = dict(block.named_children())
    acts += [(type(m).__name__, m) for p, m in own.items() if p not in linears]
    for called, act in acts:
        for order in permutations(linears):
            if len(order) == 3:
                gate, up, down = order
                yield (
                    {"gate": gate, "up": up, "down": down},
                    f"{down}({called}({gate}(x)) * {up}(x))",
                    lambda x, a=act, g=gate, u=up, d=down: linears[d](
                        a(linears[g](x)) * linears[u](x)
                    ),
                )
            else:
                up, down = order
                yield (
                    {"up": up, "down": down},
                    f"{down}({called}({up}(x)))",
                    lambda x, a=act, u=up, d=down: linears[d](a(linears[u](x))),
                )


_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "activation")
