"""Prompts with their corruption for a causal trace: an equal-length harmless twin, or noise.

A twin keeps the states in distribution (symmetric token replacement, arXiv 2309.16042, section 3);
noise on the embeddings is the older probe (Meng et al. 2022, arXiv 2202.05262). This module does
not run a model beyond its embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dapa.core.records import Prompt
from dapa.localize.divergence.tokens import Encoded, encoded, shared
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

_PROBES = ("0", "Zz ~")  # two requests that share no beginning, to see where requests begin


@dataclass(frozen=True)
class Corrupted:
    """One prompt and what its corrupted run reads, in the teacher's tokens."""

    prompt: str
    clean: Encoded
    twin: str
    """Empty under noise."""
    twin_ids: tuple[int, ...]
    """As long as the prompt; the prompt's own under noise."""
    changed: tuple[int, ...]
    """Tokens that the corruption touches, ascending."""

    @property
    def first(self) -> int:
        """From here on states may differ."""
        return self.changed[0]

    def behind(self, blanks: tuple[int, ...]) -> Corrupted:
        """Both runs with the blank tokens that the reply opens with behind the prompt."""
        clean = replace(self.clean, ids=(*self.clean.ids, *blanks))
        return replace(self, clean=clean, twin_ids=(*self.twin_ids, *blanks))

    def positions(self, group: str) -> tuple[int, ...]:
        """The tokens of one of `sentences.TOKEN_GROUPS`, from the first corrupted one on; or none.

        Those before it are the same anyway.
        """
        last = len(self.clean.ids) - 1
        end = min(self.clean.instruction, last - 1)
        chosen = {
            "changed": self.changed,
            "after": tuple(i for i in range(self.first, end + 1) if i not in self.changed),
            "header": tuple(range(max(end, self.changed[-1]) + 1, last)),
            "last": (last,),
            "all": tuple(range(self.first, last + 1)),
        }
        return chosen[group]


def with_twins(
    pair: Pair, prompts: Sequence[Prompt], how: PromptFormat, harmless: Sequence[str] = ()
) -> list[Corrupted | None]:
    """Each prompt with its twin, or the nearest harmless prompt; None where none is as long.

    Args:
        pair: Whose teacher reads.
        prompts: Harmful ones; a twin of their own goes first.
        how: How a request is rendered.
        harmless: For prompts without a twin of their own: the one of the same length in tokens
            that differs in the fewest, if those are at most half of the request's.
    """
    pool = [(text, encoded(pair, text, how, "teacher").ids) for text in dict.fromkeys(harmless)]
    probes = [encoded(pair, probe, how, "teacher") for probe in _PROBES]
    found: list[Corrupted | None] = []
    for prompt in prompts:
        clean = encoded(pair, prompt.text, how, "teacher")
        if prompt.twin:
            near = [(prompt.twin, encoded(pair, prompt.twin, how, "teacher").ids)]
            most = len(clean.ids)
        else:
            near, most = pool, (clean.instruction + 1 - request_start(clean, probes)) // 2
        fits = [
            (len(places), text, ids, places)
            for text, ids in near
            if len(ids) == len(clean.ids) and (places := _differ(clean.ids, ids))
        ]
        best = min(fits, key=lambda fit: fit[0], default=None)
        if best is None or best[0] > most:
            found.append(None)
        else:
            found.append(Corrupted(prompt.text, clean, best[1], best[2], best[3]))
    return found


def with_noise(pair: Pair, prompts: Sequence[Prompt], how: PromptFormat) -> list[Corrupted]:
    """Each prompt with its request's tokens to be noised."""
    probes = [encoded(pair, probe, how, "teacher") for probe in _PROBES]
    found = []
    for prompt in prompts:
        clean = encoded(pair, prompt.text, how, "teacher")
        start = min(request_start(clean, probes), clean.instruction)
        changed = tuple(range(start, clean.instruction + 1))
        found.append(Corrupted(prompt.text, clean, "", clean.ids, changed))
    return found


def request_start(clean: Encoded, probes: Sequence[Encoded]) -> int:
    """How many tokens stand before the request: what it has in common with unlike ones."""
    return min(shared(clean.ids, probe.ids) for probe in probes)


def embedding_sd(pair: Pair, prompts: Sequence[Corrupted]) -> float:
    """Standard deviation of the teacher's embeddings of the tokens to be noised."""
    ids = sorted({prompt.clean.ids[i] for prompt in prompts for i in prompt.changed})
    with torch.inference_mode():
        table = pair.teacher.get_input_embeddings()(torch.tensor(ids, device=pair.device))
    return float(table.double().std())


def noised(pair: Pair, prompt: Corrupted, sd: float, generator: torch.Generator) -> Tensor:
    """The prompt's embeddings with Gaussian noise on the tokens to be corrupted, (length, d)."""
    ids = torch.tensor(prompt.clean.ids, device=pair.device)
    with torch.inference_mode():
        embedded = pair.teacher.get_input_embeddings()(ids).clone()
        noise = torch.randn(len(prompt.changed), embedded.shape[1], generator=generator) * sd
        embedded[list(prompt.changed)] += noise.to(embedded.device, embedded.dtype)
    return embedded


def _differ(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    return tuple(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
