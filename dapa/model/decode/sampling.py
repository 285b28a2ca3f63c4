"""Choose the next token of each row; a row's choice depends on its own logits and seed only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dapa.core.records import SettingError


@dataclass(frozen=True)
class Decoding:
    """How replies are decoded. The default is greedy, and a search is always greedy."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps every token."""
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """SettingError for a value that no model can decode with."""
        checks = (
            (1 <= self.max_new_tokens <= 8192, "max new tokens", self.max_new_tokens, "1 to 8192"),
            (0.0 <= self.temperature <= 10.0, "temperature", self.temperature, "0 to 10"),
            (0.0 < self.top_p <= 1.0, "top-p", self.top_p, "above 0 and up to 1"),
            (0 <= self.top_k <= 1_000_000, "top-k", self.top_k, "0 (off) or more"),
            (
                0.5 <= self.repetition_penalty <= 5.0,
                "repetition penalty",
                self.repetition_penalty,
                "0.5 to 5",
            ),
        )
        for fine, what, value, allowed in checks:
            if not fine:
                raise SettingError(f"{what} is {value}; choose {allowed}")


GREEDY = Decoding()


def choose(
    logits: Tensor,
    how: Decoding,
    generators: Sequence[torch.Generator | None],
    written: Sequence[Sequence[int]],
) -> list[int]:
    """Next token ids.

    Args:
        logits: (rows, vocabulary).
        how: Decoding, the same for all rows.
        generators: One per row, on the CPU, used only when sampling.
        written: Ids of prompt and reply so far per row, for the repetition penalty.
    """
    if how.repetition_penalty != 1.0:
        logits = logits.to(torch.float32, copy=True)  # bfloat16 would round into ties
        for row, ids in enumerate(written):
            seen = torch.tensor(sorted(set(ids)), dtype=torch.long, device=logits.device)
            values = logits[row, seen]
            logits[row, seen] = torch.where(
                values > 0, values / how.repetition_penalty, values * how.repetition_penalty
            )
    if how.temperature == 0.0:
        # the first of equals, as argmax gives it, which in bfloat16 takes a CPU five times as long
        return logits.max(-1).indices.tolist()  # type: ignore[no-any-return]
    return [
        _sample(row, how, generator)
        for row, generator in zip(logits.float().cpu(), generators, strict=True)
    ]


def _sample(logits: Tensor, how: Decoding, generator: torch.Generator | None) -> int:
    """Draw by inverting the cumulative distribution, most likely token first."""
    values, ids = logits.sort(descending=True, stable=True)
    values = (values - values[0]) / how.temperature  # at most 0, however small the temperature
    if how.top_k:
        values, ids = values[: how.top_k], ids[: how.top_k]
    probabilities = values.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities * (before < how.top_p)  # the first token always stays
    cumulative = probabilities.cumsum(-1)
    draw = torch.rand((), generator=generator) * cumulative[-1]
    index = int(torch.searchsorted(cumulative, draw, right=True))
    return int(ids[min(index, int((probabilities > 0).sum()) - 1)])
