"""Two models' states side by side, at every layer and site, while one batch passes through.

Everything is seen through the taps that the pair installed at load; no hook is added here. States
are handed on as soon as both are known, so a batch never piles up more than its chosen places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from dapa.localize.tokens import Tokens
from dapa.model.pair import Pair
from dapa.model.sites import submodule
from dapa.model.transplant import Plan, Tap, Watcher, masked, watching
from dapa.records import Site

READINGS = ("local", "total")
_INSIDE = ("q_norm", "k_norm")
"""Norms of single heads, whose states have no one place for a token in every family."""
STREAMS = ("residual", "attention", "mlp")
"""The taps that are not sites: the layer's output, the attention's, the MLP's."""

See = Callable[[int, str, Tensor, Tensor], None]
"""(layer, site, student's states, teacher's states), states (rows, places, d)."""


def sites_of_pair(pair: Pair) -> tuple[str, ...]:
    """What a map of this pair can look at: streams, and sites that every layer has."""
    inside = {kind for kind, _ in pair.family.sites if kind not in _INSIDE}
    return (*STREAMS, *(kind for kind in pair.wrapped if kind in inside))


def compare_local(
    pair: Pair, tokens: Tokens, plan: Plan | None, sites: Collection[str], see: See
) -> None:
    """One pass of the (masked) student; each of the teacher's modules reads the student's input.

    Attention and whole layers run on every token, with the student's rotary positions; what works
    on one position at a time runs on the chosen places only, in both models alike, so that equal
    weights give equal bits.
    """

    def look(
        tap: Tap, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if tap.role != "student" or tap.kind not in sites:
            return
        other = _teachers(pair, tap)
        with watching(None):
            if tap.kind in {"residual", "attention"}:
                ours = tokens.pick(states_of(output))
                theirs = tokens.pick(states_of(other(*args, **kwargs)))
            else:
                x = tokens.pick(args[0] if args else kwargs["hidden_states"])
                ours, theirs = module(x), other(x)
        see(tap.layer, tap.kind, ours, theirs)

    run_below_head(pair, "student", tokens, plan, look)


def compare_total(
    pair: Pair,
    ours: Tokens,
    theirs: Tokens,
    plan: Plan | None,
    sites: Collection[str],
    see: See,
) -> None:
    """One pass of each model on its own input; the chosen places of the first wait for the second.

    Args:
        pair: The two models.
        ours: The batch in the student's tokens.
        theirs: The same prompts in the teacher's tokens.
        plan: The student's masks.
        sites: Which taps to look at.
        see: Told each pair of states, while the teacher runs.
    """
    waiting: dict[tuple[int, str], Tensor] = {}

    def keep(tap: Tap, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == "student" and tap.kind in sites:
            waiting[tap.layer, tap.kind] = ours.pick(states_of(output)).clone()

    def meet(tap: Tap, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == "teacher" and tap.kind in sites:
            mine = waiting.pop((tap.layer, tap.kind))
            see(tap.layer, tap.kind, mine, theirs.pick(states_of(output)))

    run_below_head(pair, "student", ours, plan, keep)
    run_below_head(pair, "teacher", theirs, None, meet)


def _teachers(pair: Pair, tap: Tap) -> nn.Module:
    """The teacher's module at a tap of the student."""
    if tap.kind not in STREAMS:
        return pair.sites[Site(tap.layer, tap.kind)].teacher
    path = {"residual": "", "attention": pair.family.attention, "mlp": pair.family.mlp}[tap.kind]
    return cast(nn.Module, submodule(pair.layer("teacher", tap.layer), path))


def states_of(output: Any) -> Tensor:
    """Modules that return more than states return the states first."""
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


def run_below_head(
    pair: Pair, role: str, tokens: Tokens, plan: Plan | None, watcher: Watcher
) -> None:
    """A forward pass below the head: no logits, no cache."""
    model = pair.student if role == "student" else pair.teacher
    positions = (tokens.attention.cumsum(-1) - 1).clamp_min(0)
    with torch.inference_mode(), masked(plan), watching(watcher):
        model.get_decoder()(
            input_ids=tokens.ids,
            attention_mask=tokens.attention,
            position_ids=positions,
            use_cache=False,
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
        logits = model.get_output_embeddings()(normed).float()
        cap = getattr(model.config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        if self._shared is not None:
            logits = logits.index_select(-1, self._shared[role == "teacher"])
        return logits
