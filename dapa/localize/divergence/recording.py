"""Two models' states side by side, at every layer and site, while one batch passes through.

Everything is seen through the taps that the pair installed at load; no hook is added here. States
are handed on as soon as both are known, so a batch never piles up more than its chosen places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from dapa.core.records import Site
from dapa.localize.divergence.tokens import Tokens
from dapa.model.decode.front import Front
from dapa.model.families import GROUPS, MIXTURE, submodule
from dapa.model.pair import Pair
from dapa.model.scaling import scaled
from dapa.model.transplant import Plan, Tap, Watcher, masked, watching

READINGS = ("local", "total")
_INSIDE = ("q_norm", "k_norm")
"""Norms of single heads, whose states have no one place for a token in every family."""
STREAMS = ("residual", "attention", "mlp")
"""The taps that are not sites: the layer's output, the attention's, the MLP's."""

_WHOLE = ("residual", "attention", *MIXTURE)
"""What reads more than one position's states, or has them in one line; these run on every token."""

DERIVED = {"gate_act": "gate", "neurons": "up"}
"""Places that are no module's output -> the site below which a map shows them: the gate behind its
activation, and that times up: the neurons, which `down` reads."""
SINK = 10.0
"""A token whose residual state is this many times as long as its prompt's median, at any layer,
gathers attention and carries massive activations (arXiv 2309.17453, 2402.17762)."""

See = Callable[[int, str, Tensor, Tensor], None]
"""(layer, site, student's states, teacher's states), states (rows, places, d)."""


def sites_of_pair(pair: Pair) -> tuple[str, ...]:
    """What a map of this pair can look at: streams, and sites that every layer has."""
    inside = {kind for kind, _ in pair.family.sites if kind not in _INSIDE}
    streams = STREAMS if pair.whole else ()
    return (*streams, *(kind for kind in pair.wrapped if kind in inside))


def usual_sites(pair: Pair) -> tuple[str, ...]:
    """What a map shows unless it is asked for more: the streams and the MLP's own sites."""
    return tuple(s for s in sites_of_pair(pair) if s in (*STREAMS, *GROUPS["mlp"]))


def map_sites(pair: Pair) -> tuple[str, ...]:
    """Everything that a map can look at, derived places too, where the MLP shows its activation."""
    places = list(sites_of_pair(pair))
    shown = pair.whole and activation(pair, "student", 0) is not None
    if shown and {"gate", "up"} <= set(places):
        for name, below in DERIVED.items():
            places.insert(places.index(below) + 1, name)
    return tuple(places)


def activation(pair: Pair, role: str, layer: int) -> Any:
    """The function between a layer's gate and its neurons; None where the MLP shows none."""
    mlp = submodule(pair.layer(role, layer), pair.family.mlp)
    return getattr(mlp, "act_fn", None) or getattr(mlp, "activation_fn", None)


def compare_local(
    pair: Pair, tokens: Tokens, plan: Plan | None, sites: Collection[str], see: See
) -> None:
    """One pass of the (masked) student; each of the teacher's modules reads the student's input.

    Attention and whole layers run on every token, with the student's rotary positions; what works
    on one position at a time runs on the chosen places only, in both models alike, so that equal
    weights give equal bits.
    """
    derived = [name for name in DERIVED if name in sites]

    def inside(layer: int, x: Tensor, gates: tuple[Tensor, Tensor]) -> None:
        acts = tuple(
            activation(pair, role, layer)(gate)
            for role, gate in zip(("student", "teacher"), gates, strict=True)
        )
        if "gate_act" in derived:
            see(layer, "gate_act", *acts)
        if "neurons" in derived:
            up = pair.sites[Site(layer, "up")]
            see(layer, "neurons", acts[0] * up(x), acts[1] * up.teacher(x))

    def look(
        tap: Tap, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if tap.role != "student" or not (tap.kind in sites or (derived and tap.kind == "gate")):
            return
        other = _teachers(pair, tap)
        with watching(None):
            if tap.kind in _WHOLE:
                rows = len(tokens.ids)
                ours = tokens.pick(by_rows(output, rows))
                theirs = tokens.pick(by_rows(other(*args, **kwargs), rows))
            else:
                x = tokens.pick(args[0] if args else kwargs["hidden_states"])
                ours, theirs = states_of(module(x)), states_of(other(x))
                if derived and tap.kind == "gate":
                    inside(tap.layer, x, (ours, theirs))
        if tap.kind in sites:
            see(tap.layer, tap.kind, ours, theirs)

    run_below_head(pair, "student", tokens, plan, look)


def compare_total(
    pair: Pair,
    ours: Tokens,
    theirs: Tokens,
    plan: Plan | None,
    sites: Collection[str],
    see: See,
    fronts: tuple[Front | None, Front | None] = (None, None),
) -> None:
    """One pass of each model on its own input; the chosen places of the first wait for the second.

    Args:
        pair: The two models.
        ours: The batch in the student's tokens.
        theirs: The same prompts in the teacher's tokens.
        plan: The student's masks.
        sites: Which taps to look at.
        see: Told each pair of states, while the teacher runs.
        fronts: What stands before the student's tokens, and before the teacher's.
    """
    waiting: dict[tuple[int, str], Tensor] = {}

    def at(tap: Tap, tokens: Tokens, args: Any, output: Any) -> dict[str, Tensor]:
        """What this tap shows of the wanted places."""
        states = by_rows(output, len(tokens.ids))
        shown = {tap.kind: tokens.pick(states)} if tap.kind in sites else {}
        if tap.kind == "gate" and "gate_act" in sites:
            shown["gate_act"] = activation(pair, tap.role, tap.layer)(tokens.pick(output))
        if tap.kind == "down" and "neurons" in sites:
            shown["neurons"] = tokens.pick(args[0])
        return shown

    def keep(tap: Tap, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == "student":
            for site, x in at(tap, ours, args, output).items():
                waiting[tap.layer, site] = x.clone()

    def meet(tap: Tap, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == "teacher":
            for site, x in at(tap, theirs, args, output).items():
                see(tap.layer, site, waiting.pop((tap.layer, site)), x)

    run_below_head(pair, "student", ours, plan, keep, fronts[0])
    run_below_head(pair, "teacher", theirs, None, meet, fronts[1])


def find_sinks(pair: Pair, role: str, tokens: Tokens, plan: Plan | None) -> Tensor:
    """Which tokens are attention sinks in one model: the first, and every one that sticks out.

    A token sticks out if its residual state is `SINK` times as long as the median of its prompt's
    at any layer. A prompt of one token has none.

    Returns:
        (rows, length), false where padding stands.
    """
    here = tokens.attention.bool()
    out = torch.zeros_like(here)

    def look(tap: Tap, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == role and tap.kind == "residual":
            length = states_of(output).float().norm(dim=-1).masked_fill(~here, torch.nan)
            out.logical_or_(length > SINK * length.nanmedian(dim=1, keepdim=True).values)

    run_below_head(pair, role, tokens, plan, look)
    first = here & (here.cumsum(1) == 1)
    return (out | first) & (here.sum(1, keepdim=True) > 1)


def _teachers(pair: Pair, tap: Tap) -> nn.Module:
    """The teacher's module at a tap of the student."""
    if tap.kind not in STREAMS:
        return pair.sites[Site(tap.layer, tap.kind)].teacher
    path = {"residual": "", "attention": pair.family.attention, "mlp": pair.family.mlp}[tap.kind]
    return cast(nn.Module, submodule(pair.layer("teacher", tap.layer), path))


def states_of(output: Any) -> Tensor:
    """Modules that return more than states return the states first."""
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


def by_rows(output: Any, rows: int) -> Tensor:
    """States as (rows, tokens, d), where a mixture of experts has them in one line too."""
    states = states_of(output)
    return states if states.dim() > 2 else states.unflatten(0, (rows, -1))


def run_below_head(
    pair: Pair,
    role: str,
    tokens: Tokens,
    plan: Plan | None,
    watcher: Watcher,
    front: Front | None = None,
) -> None:
    """A forward pass below the head: no logits, and no cache but of what stands before."""
    model = pair.student if role == "student" else pair.teacher
    rows, length = tokens.ids.shape
    positions = (tokens.attention.cumsum(-1) - 1).clamp_min(0)[:, -length:]
    with torch.inference_mode(), masked(plan), watching(watcher):
        model.get_decoder()(
            input_ids=tokens.ids,
            attention_mask=tokens.attention,
            position_ids=positions,
            past_key_values=front.cache(rows) if front is not None else None,
            use_cache=front is not None,
        )


class Lens:
    """The logit lens: residual states through the final norm and the head, as logits.

    In the local reading both states pass the student's norm and head, since only one layer is
    under the question there; in the total reading each passes its own model's, over the tokens
    that both vocabularies hold.
    """

    def __init__(self, pair: Pair, reading: str) -> None:
        """Find the shared vocabulary once."""
        self._pair, self._reading = pair, reading
        self._shared: tuple[Tensor, Tensor] | None = None
        if reading == "total":
            ours, theirs = pair.tokenizer.get_vocab(), pair.teacher_tokenizer.get_vocab()
            rows = [m.get_output_embeddings().weight.shape[0] for m in (pair.student, pair.teacher)]
            if ours != theirs or rows[0] != rows[1]:
                both = sorted((i, theirs[t]) for t, i in ours.items() if t in theirs)
                both = [(i, j) for i, j in both if i < rows[0] and j < rows[1]]
                index = torch.tensor(both, device=pair.device)
                self._shared = (index[:, 0], index[:, 1])

    def __call__(self, states: Tensor, role: str) -> Tensor:
        """Map (n, d) states of one model to (n, shared vocabulary) logits."""
        whose = role if self._reading == "total" else "student"
        model = self._pair.student if whose == "student" else self._pair.teacher
        normed = submodule(model, self._pair.family.norm)(states)
        logits = scaled(model, model.get_output_embeddings()(normed).float())
        if self._shared is not None:
            logits = logits.index_select(-1, self._shared[role == "teacher"])
        return logits
