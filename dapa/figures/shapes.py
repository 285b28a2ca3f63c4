"""What a record must have to be drawn; so this floor needs no torch and no room above it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ContrastLike(Protocol):
    """Harmful minus harmless; arrays are (layers, sites)."""

    @property
    def values(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def n_harmless(self) -> int: ...  # noqa: D102
    @property
    def q(self) -> Floats: ...  # noqa: D102
    @property
    def significant(self) -> NDArray[np.bool_]: ...  # noqa: D102


class Map(Protocol):
    """A divergence over layers and sites, as `localize.maps.DivergenceMap`."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def sites(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def layers(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def values(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def prompts(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def per_prompt(self) -> Floats: ...  # noqa: D102
    @property
    def contrast(self) -> Any: ...  # noqa: D102
    @property
    def share(self) -> Floats | None: ...  # noqa: D102
    @property
    def few(self) -> int: ...  # noqa: D102


class TokensLike(Protocol):
    """A divergence along one prompt, as `localize.maps.TokenMap`."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def sites(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def layers(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def tokens(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def values(self) -> Floats: ...  # noqa: D102
    @property
    def sinks(self) -> tuple[int, ...]: ...  # noqa: D102
