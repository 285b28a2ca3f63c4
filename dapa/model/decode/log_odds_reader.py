"""Refusal log-odds of many masks on one list of prompts, without reading twice what they share.

`log_odds.refusal_log_odds` reads every prompt whole under every mask. Masks that are tried one
after the other mostly begin alike, and prompts begin alike too: here the layers below the lowest
unit in which two masks differ are computed once a prompt, and the prompts' common beginning once a
mask (`prefill`). The openers' phrases stand behind each prompt in the same pass, so the numbers are
the same but for rounding, and where it is asked for, but for phrases that carry next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dapa.core.records import Mask, ran_out
from dapa.model.decode.lengths import pass_cost, passes
from dapa.model.decode.log_odds import Ids, log_odds_of, refusal_log_odds
from dapa.model.decode.narrowing import narrowed
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.decode.optimizations import Optimizations
from dapa.model.decode.prefill import prefiller_for
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.room import release

Floats = NDArray[np.float64]


LOGITS = {"cpu": 2**26, "card": 2**30}
"""Bytes of the logits of one pass, in float32."""


class LogOddsReader:
    """One student's log-odds; each (mask, prompt) is read once. For one thread at a time."""

    def __init__(
        self,
        pair: Pair,
        ids: Ids,
        openers: Openers | None = None,
        *,
        rows: int | None = None,
        optimizations: Optimizations | None = None,
        narrow: bool = False,
    ) -> None:
        """Get ready; nothing is read yet.

        Args:
            pair: The two models.
            ids: Rendered prompts in the student's tokens.
            openers: Of `find_openers`, if the caller has them.
            rows: Rows of one forward pass at most; by default what suits the device, and no more
                than leave the logits of all beginnings small.
            optimizations: What may be spared; all of it if None.
            narrow: Leave out phrases that hardly ever open a reply on these prompts (`narrowing`).

        Raises:
            NoOpeners: The vocabulary has no refusal opener.
        """
        self.pair, self.ids = pair, list(ids)
        self.openers = openers or find_openers(pair)
        if narrow:
            self.openers = narrowed(pair, self.ids, self.openers)
        self._rows = rows or min(row_capacity(pair), _fitting(pair, len(self.openers.nodes)))
        optimizations = optimizations or Optimizations()
        self._reader = prefiller_for(pair, self.ids, optimizations, self.openers.nodes)
        self._pass = pass_cost(pair) if optimizations.alike else None
        self._known: dict[Mask, Floats] = {}
        self.read = 0
        """(mask, prompt) pairs that were read."""
        self.tokens = 0.0
        """Tokens that went through the model for them; half of the layers count half."""

    def __call__(
        self,
        masks: Sequence[Mask],
        places: Sequence[int],
        *,
        progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Floats:
        """Log-odds, (masks, places).

        Args:
            masks: What is transplanted.
            places: Which of the prompts.
            progress: Told (readings done, readings in all) after every pass.
            stop: When set, what was not read yet stays NaN.

        Raises:
            SettingError: A unit that does not exist.
            DapaError: Not even one row fits into memory.
        """
        for mask in dict.fromkeys(masks):
            if mask not in self._known:
                self.pair.validate(mask)
                self._known[mask] = np.full(len(self.ids), np.nan)
        # a prompt's masks side by side: what one of them makes of the lower layers serves the next
        todo = [
            (mask, place)
            for place in self._ranked(places)
            for mask in dict.fromkeys(masks)
            if np.isnan(self._known[mask][place])
        ]
        start = 0
        while start < len(todo) and not (stop is not None and stop.is_set()):
            most = self.pair.room.most("readings", self._rows)
            part = self._first(todo[start : start + 4 * most], most)
            for (mask, place), value in zip(part, self._read(part), strict=True):
                self._known[mask][place] = value
            self.read += len(part)
            start += len(part)
            if progress:
                progress(start, len(todo))
        return np.array([self._known[mask][list(places)] for mask in masks])

    def _ranked(self, places: Sequence[int]) -> list[int]:
        """Each once; those of like length side by side."""
        once = list(dict.fromkeys(places))
        return once if self._pass is None else sorted(once, key=self._length)

    def _first(self, ahead: Sequence[tuple[Mask, int]], most: int) -> Sequence[tuple[Mask, int]]:
        """What the first pass reads of what lies ahead, far enough to tell where it ends."""
        if self._pass is None:
            return ahead[:most]
        lengths = [self._length(place) for _, place in ahead]
        return ahead[: passes(lengths, most, self._pass)[0]]

    def _length(self, place: int) -> int:
        """Tokens of a prompt that are read for every mask, its phrases among them."""
        return len(self.ids[place]) - len(self._reader.head) + len(self.openers.nodes)

    def _read(self, work: Sequence[tuple[Mask, int]]) -> Floats:
        try:
            with torch.inference_mode():
                found = self._reader.read([(self.ids[place], mask) for mask, place in work])
                odds = log_odds_of(found.logits, self.openers).double().cpu().numpy()
        except Exception as error:
            if not ran_out(error):
                raise
            found = None
        if found is None:
            self._reader.forget()
            self.pair.room.halve("readings", len(work))
            release(self.pair.device)
            return np.concatenate([self._alone(mask, place) for mask, place in work])
        self.tokens += found.computed
        told = np.empty(len(work))
        told[found.order] = odds
        return told

    def _alone(self, mask: Mask, place: int) -> Floats:
        """One row by the plain way, which keeps nothing."""
        return refusal_log_odds(self.pair, [self.ids[place]], [mask], openers=self.openers)[0]


def _fitting(pair: Pair, nodes: int) -> int:
    """Rows whose logits, those behind each beginning too, stay within `LOGITS`."""
    width = pair.student.get_output_embeddings().weight.shape[0]
    room = LOGITS["cpu" if pair.device.type == "cpu" else "card"]
    return max(1, int(room // (4 * width * (1 + nodes))))
