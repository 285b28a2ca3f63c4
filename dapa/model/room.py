"""How many rows a pair has room for: measured where it may be tight, halved when memory runs out.

What was found is remembered for the pair, by the kind of work, so that memory runs out once and not
at every batch. Rows never decide a result, only how fast it comes. Neither files nor prompts are
known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Literal, Protocol, TypeVar
from weakref import WeakSet, ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dapa.core.records import OutOfMemory, ran_out
from dapa.core.resident import give_back
from dapa.model.machine import free_memory, work_bytes

Work = Literal["replies", "readings", "gradients"]
"""Decoding, passes over whole prompts, and passes backwards: a row of each takes another size."""
T, R = TypeVar("T"), TypeVar("R")
_SAFE = 8
"""What is reckoned must fit so many times before nobody measures: attention and fragments apart."""
_SHARE = 0.7
"""Of the free memory, for rows that were measured."""


class Housed(Protocol):
    """What is asked of a pair."""

    student: Any
    room: Room
    device: torch.device


class Kept(Protocol):
    """What one reader keeps between two readings, to be spared work; it can be read again."""

    lock: threading.Lock
    """Held while it is used."""
    used: float
    """When it was used last."""

    @property
    def size(self) -> int:
        """Bytes."""

    def clear(self) -> None:
        """Let go of everything."""


class Room:
    """One pair's memory of what fitted, and what its readers keep; any thread may ask and tell."""

    def __init__(self) -> None:
        """Nothing ran out yet."""
        self._lock = threading.Lock()
        self._kept: WeakSet[Kept] = WeakSet()
        self._most: dict[Work, int] = {}
        self._sizes: dict[int, int] = {}

    def most(self, work: Work, wanted: int) -> int:
        """Rows that may go at once, of so many."""
        return min(wanted, self._most.get(work, wanted))

    def halve(self, work: Work, rows: int) -> int:
        """Memory ran out with so many rows: from now on half as many go at once, at least one."""
        with self._lock:
            most = max(1, rows // 2)
            self._most[work] = min(most, self._most.get(work, most))
        return self._most[work]

    def keep(self, kept: Kept, budget: int) -> None:
        """Let this stay, and of what the pair's other readers keep as much as the budget allows.

        A measurement has a reader for every list of prompts, and each would keep its own budget
        full long after its last reading.
        """
        with self._lock:
            self._kept.add(kept)
            others = sorted((one for one in self._kept if one is not kept), key=lambda o: o.used)
        over = kept.size + sum(one.size for one in others) - budget
        for other in others:
            if over > 0 and (size := other.size) and other.lock.acquire(blocking=False):
                try:
                    other.clear()
                finally:
                    other.lock.release()
                over -= size

    def fitting(self, pair: Housed, rows: int, tokens: int) -> int:
        """How many of `rows` replies of so many tokens, prompt and all, the free memory holds.

        A pass of one row is measured only where a reckoning says that it may be tight; its size is
        kept for every length up to the next power of two.
        """
        rows = self.most("replies", rows)
        free = free_memory(str(pair.device))
        model = pair.student
        width = next(model.parameters()).element_size()
        if _SAFE * work_bytes(model.config.get_text_config(), width, rows, tokens) <= free:
            return rows
        long = 1 << max(4, (tokens - 1).bit_length())
        if long not in self._sizes:
            self._sizes[long] = row_bytes(model, min(long, _longest(model)), pair.device)
        fits = max(1, int(_SHARE * free) // max(1, self._sizes[long]))
        return min(rows, fits)


def _longest(model: Any) -> int:
    return int(getattr(model.config, "max_position_embeddings", 0) or 2**30)


def row_bytes(model: Any, tokens: int, device: torch.device | str) -> int:
    """Bytes of tensors that one row of so many tokens makes at most at once, its KV cache included.

    Measured by a pass of the unmasked model in a context of its own. 0 where not even that pass
    fits, so that whoever asks tries one row and tells of it.
    """
    ids = torch.ones(1, tokens, dtype=torch.long, device=device)

    def run() -> int:
        with torch.inference_mode(), Peak() as peak:
            model(input_ids=ids, use_cache=True, logits_to_keep=1)
        return peak.most

    try:
        return Context().run(run)
    except Exception as error:
        if not ran_out(error):
            raise
    return free_memory(str(device))


def within_memory(
    pair: Housed,
    rows: Sequence[T],
    run: Callable[[Sequence[T]], R],
    tokens: Callable[[T], int],
    work: Work = "readings",
) -> list[R]:
    """`run` over all rows at once, or over parts of them where memory does not suffice.

    Args:
        pair: Whose room is asked, and told of what ran out.
        rows: What is run, at least one.
        run: Called with consecutive parts, in order.
        tokens: How long a row's prompt is, for the message.
        work: What kind of pass this is.

    Returns:
        What `run` gave for each part.

    Raises:
        OutOfMemory: Not even one row fits.
    """
    done: list[R] = []
    at, size = 0, pair.room.most(work, len(rows))
    while at < len(rows):
        part = rows[at : at + size]
        try:
            done.append(run(part))
        except Exception as error:
            if not ran_out(error):
                raise
            if len(part) == 1:
                raise too_little(tokens(part[0]), work) from None
            size = pair.room.halve(work, len(part))
        else:
            at += len(part)
            continue
        release(pair.device)
    return done


def too_little(tokens: int, work: Work = "replies") -> OutOfMemory:
    """What to tell when one row does not fit."""
    what = "the gradient of one prompt" if work == "gradients" else "one prompt"
    return OutOfMemory(
        f"out of memory on {what} of {tokens:,} tokens; use a shorter prompt, lean memory or a "
        "smaller dtype"
    )


def release(device: torch.device | str) -> None:
    """Hand back what was freed: to the card's driver, to the system."""
    kind = torch.device(device).type
    cached = getattr(torch, kind, None)  # torch.cuda, torch.mps, torch.xpu; the CPU's keeps nothing
    if kind != "cpu" and hasattr(cached, "empty_cache"):
        cached.empty_cache()
    give_back()


class Peak(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they live; on any device."""

    def __init__(self) -> None:
        """Nothing was made yet."""
        super().__init__()
        self.now = self.most = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made, in place and views apart."""
        made = func(*args, **(kwargs or {}))
        given = {id(_storage(x)) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(made):
            if isinstance(x, Tensor) and id(_storage(x)) not in given:
                self._count(_storage(x))
        return made

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            if self._seen.pop(key, None) is not None:
                self.now -= size

        self._seen[key] = ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def _storage(x: Tensor) -> Any:
    return x.untyped_storage()
