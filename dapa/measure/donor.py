"""A benign donor: a model tuned like the teacher but without the refusals, read site by site."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dapa.core.assets import folder
from dapa.core.records import PairError, Site
from dapa.model.adapted import open_checkpoint
from dapa.model.checkpoint import Checkpoint
from dapa.model.pair import Pair
from dapa.model.spec import short_name


def named_donor(pair: Pair) -> str | None:
    """The donor that a bundled pair's facts name, if its folder is there."""
    name = pair.spec.planted.get("benign")
    if not isinstance(name, str):
        return None
    place = folder() / "toy" / name
    return str(place) if place.is_dir() else None


class Donor:
    """A third model of the pair's architecture, of which only the sites' tensors are read."""

    def __init__(self, pair: Pair, name: str | None) -> None:
        """Args: the pair, and the donor's folder or hub id; None is no donor."""
        self._pair = pair
        self._checkpoint: Checkpoint | None = open_checkpoint(name) if name else None
        self.mark = ""
        if self._checkpoint is not None:
            self.mark = _mark(self._checkpoint.files)

    @property
    def known(self) -> bool:
        """Is there a donor?"""
        return self._checkpoint is not None

    def difference(self, site: Site, parameter: str) -> Tensor:
        """Donor minus student; PairError where the donor has no such tensor."""
        assert self._checkpoint is not None, "asked only where there is a donor"
        donor, family = self._checkpoint, self._pair.family
        ours = dict(self._pair.sites[site].student.named_parameters())[parameter]
        stored = donor.tensors_of(family, site).get(parameter)
        if stored is None or donor.shape(stored) != ours.shape:
            raise PairError(
                f"the donor {short_name(donor.name)} has no {family.path(site)}.{parameter} of "
                f"shape {tuple(ours.shape)}; give a donor of the pair's architecture"
            )
        return donor.part(stored).to(ours.device).float() - ours.float()


def _mark(files: Sequence[Path]) -> str:
    """A donor's fingerprint by its files' names, sizes and times: enough for a memory's key."""
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr(stamps).encode(), digest_size=8).hexdigest()
