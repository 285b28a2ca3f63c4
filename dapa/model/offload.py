"""Weights that stay in the machine's memory: a layer's go to the device while it runs.

Student and teacher of one layer, sites and all, go together, since a masked forward may need either
and a view may swap one for the other. What stands outside of the layers stays on the device.
`accelerate` has hooks for this, but they belong to the module: one thread's reply would free the
weights that another's is using. Here every layer counts who runs in it, and the last one out lets
go. A gradient cannot be taken: when it comes back to a layer, the weights have left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from dapa.model.families import Family, submodule


class Stage:
    """One layer of both models: their weights, on the device while anyone runs in it."""

    def __init__(self, device: torch.device | str) -> None:
        """Empty; `fill` says whose weights these are."""
        self._device = torch.device(device)
        self._lock = threading.Lock()
        self._here = 0
        self._home: list[tuple[Tensor, Tensor]] = []  # (parameter, its values at home)
        self.carried = 0
        """How often the weights were taken to the device."""

    def fill(self, modules: Iterable[nn.Module]) -> None:
        """These modules' weights are this stage's; each is kept once, whoever else has it."""
        self._home = [(weight, weight.data) for weight in _weights(modules)]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The weights are on the device."""
        with self._lock:
            if self._here == 0:
                self._bring()
            self._here += 1
        try:
            yield
        finally:
            with self._lock:
                self._here -= 1
                if self._here == 0:
                    self._leave()

    def wrap(self, layer: nn.Module) -> None:
        """Let this decoder layer run with its weights on the device.

        What wraps it later is outside, so that a reading which skips the layer carries nothing.
        """
        plain = layer.forward

        @wraps(plain)
        def forward(*args: Any, **kwargs: Any) -> Any:
            with self.entered():
                return plain(*args, **kwargs)

        layer.forward = forward  # type: ignore[method-assign]

    def _bring(self) -> None:
        try:
            with torch.inference_mode(False):
                carried = _carrier(self._device)
                for weight, home in self._home:
                    weight.data = carried(home)
        except BaseException:
            self._leave()  # memory ran out half way
            raise
        self.carried += 1

    def _leave(self) -> None:
        for weight, home in self._home:
            weight.data = home


def stages_for(models: Iterable[Any], family: Family, device: str) -> list[Stage]:
    """A stage for each layer, wrapped around it in every model; still to be filled."""
    stages: list[Stage] = []
    for model in models:
        for index, layer in enumerate(submodule(model, family.layers)):  # type: ignore[arg-type]
            if index == len(stages):
                stages.append(Stage(device))
            stages[index].wrap(layer)
    return stages


def settle(modules: Iterable[nn.Module], device: torch.device | str) -> None:
    """Move weights to the device for good; what two modules share is shared there too."""
    carried = _carrier(torch.device(device))
    for weight in _weights(modules):
        weight.data = carried(weight.data)


def outside(model: nn.Module, layers: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model that stand outside of its decoder layers, none inside another."""
    for child in model.children():
        if child is layers:
            continue
        if any(part is layers for part in child.modules()):
            yield from outside(child, layers)
        else:
            yield child


def _weights(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters and buffers, each once, large ones first; of what modules hold aside too.

    A wrapped site holds the teacher's module, and a parted linear the fused one, in a tuple that
    the module tree does not see.
    """
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    waiting = list(modules)
    while waiting:
        for module in waiting.pop().modules():
            if id(module) in seen:
                continue
            seen.add(id(module))
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            found.update((id(x), x) for x in own)
            for aside in vars(module).values():
                if isinstance(aside, tuple):
                    waiting += [each for each in aside if isinstance(each, nn.Module)]
    return sorted(found.values(), key=lambda x: -x.numel())


def _carrier(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Takes tensors to the device, what is stored once once; large ones are asked for first."""
    there: dict[int, Tensor] = {}

    def carried(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        whole = there.get(storage._cdata)
        if whole is not None:
            return whole.as_strided(x.shape, x.stride(), x.storage_offset())
        moved = x.to(device, copy=True)
        if x.is_contiguous() and x.numel() * x.element_size() == storage.nbytes():
            there[storage._cdata] = moved
        return moved

    return carried
