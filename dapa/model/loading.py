"""The weights of one checkpoint, with progress, as a causal language model in evaluation mode.

Whatever transformers raises becomes a PairError in plain words with the next step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from dapa.core.errors import gist
from dapa.core.records import PairError, ran_out
from dapa.model.adapted import Adapted, derived
from dapa.model.architectures import inside_name
from dapa.model.checkpoint import Checkpoint
from dapa.model.files import Progress
from dapa.model.lean import ends_of
from dapa.model.spec import short_name
from dapa.model.stored import NO_ADAPTER

_ONE_AT_A_TIME = threading.Lock()  # transformers' progress hook is global to the process


class LoadCancelled(Exception):
    """The user cancelled a load; the pair that was there stays."""


class _Bar:
    """Just enough of tqdm to count, and to tell of it."""

    def __init__(self, tell: Callable[[float], None], iterable: Any = None, total: Any = None):
        self.tell, self.items = tell, iterable
        self.total = total or (len(iterable) if hasattr(iterable, "__len__") else 0)
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.update()
            yield item

    def update(self, by: int = 1) -> None:
        self.count += by
        self.tell(min(1.0, self.count / self.total) if self.total else 0.0)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *a, **k: None


@contextmanager
def reporting(progress: Progress | None, what: str) -> Iterator[Callable[..., Any]]:
    """Turn transformers' own progress bars into calls of `progress`, for this thread alone.

    Yields transformers' hook, (tqdm, args, kwargs) -> a bar, for bars drawn past transformers.
    """
    mine, done = threading.get_ident(), 0.0

    def tell(share: float) -> None:
        nonlocal done
        done = max(done, share)  # a second bar must not fall back
        if progress:
            progress(what, done)

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != mine:
            return factory(*args, **kwargs)
        iterable = args[0] if args else kwargs.get("iterable")
        return _Bar(tell, iterable, kwargs.get("total"))

    with _ONE_AT_A_TIME:
        previous = transformers_logging.set_tqdm_hook(hook)
        try:
            yield hook
        finally:
            transformers_logging.set_tqdm_hook(previous)


def load_weights(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: str | dict[str, str],
    progress: Progress | None = None,
) -> Any:
    """Build the causal language model of a checkpoint, in evaluation mode, without gradients.

    `device` is one, or a map of the model's parts over several.

    Raises:
        PairError: Weights that are missing, broken, not finite or too large for the memory.
        LoadCancelled: As `progress` raised it.
    """
    if isinstance(checkpoint, Adapted):
        base = load_weights(checkpoint.base, dtype, device, progress)
        return derived(base, checkpoint, checkpoint.changed, progress)
    where: dict[str, Any] = {}
    if device != "cpu":
        where["device_map"] = device if isinstance(device, dict) else {"": device}
    try:
        with reporting(progress, f"reading {short_name(checkpoint.name)}"):
            if checkpoint.codes:
                model, info = _from_numbers(checkpoint, dtype, **where)
            else:
                model, info = AutoModelForCausalLM.from_pretrained(
                    checkpoint.folder,
                    dtype=dtype,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                    **NO_ADAPTER,
                    **checkpoint.asking,
                    **where,
                )
    except (LoadCancelled, PairError):
        raise
    except Exception as error:  # each architecture and file fault raises a kind of its own
        if not ran_out(error):
            raise PairError(
                f"{checkpoint.name} cannot be loaded ({gist(error)}); check config.json against "
                "the weights, or download it again"
            ) from error
        model = None
    if model is None:  # told out here, where no error holds what was read so far
        there = device if isinstance(device, str) else "these cards"
        raise PairError(
            f"{checkpoint.name} ({checkpoint.bytes / 2**30:.1f} GiB on disk) does not fit on "
            f"{there}; free memory, use lean memory, a smaller dtype or another device"
        )
    _refuse_gaps(checkpoint, info)
    model.eval().requires_grad_(False)
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise PairError(
                f"{checkpoint.name}: {name} holds NaN or infinite values; download it again, or "
                f"use another dtype if its range does not fit {str(dtype).removeprefix('torch.')}"
            )
    return model


def _from_numbers(checkpoint: Checkpoint, dtype: torch.dtype, **where: Any) -> tuple[Any, Any]:
    """A model whose tensors are read one by one, as the checkpoint gives them."""
    tensors = {}
    for name in checkpoint.shapes:
        ours = inside_name(name) if checkpoint.wrapped else name
        if ours is None:
            continue
        tensor = checkpoint.tensor(name)
        tensors[ours] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    kind = AutoModelForCausalLM._model_mapping[type(checkpoint.settings)]
    model, info = kind.from_pretrained(
        None,
        config=checkpoint.settings,
        state_dict=tensors,
        dtype=dtype,
        output_loading_info=True,
        **where,
    )
    model.generation_config = ends_of(checkpoint)
    return model, info


def _refuse_gaps(checkpoint: Checkpoint, info: dict[str, Any]) -> None:
    """PairError for a missing tensor, which transformers would fill with random numbers."""
    missing = sorted(str(name) for name in info.get("missing_keys") or ())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise PairError(
            f"{checkpoint.name} lacks {missing[0]}{more}; the checkpoint is not whole, so download "
            "it again"
        )
