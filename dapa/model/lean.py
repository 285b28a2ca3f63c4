"""A teacher of which only some sites are in memory: what toggles, searches and local maps need.

It is no model: whatever asks for more than its sites gets a `NotInMemory` with the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import GenerationConfig

from dapa.core.errors import gist
from dapa.core.records import OUTSIDE, PairError, Site
from dapa.model.checkpoint import Checkpoint
from dapa.model.distances import places_of
from dapa.model.families import Family, submodule
from dapa.model.files import Progress
from dapa.model.spec import short_name
from dapa.model.vocabulary_rows import twin


class NotInMemory(PairError):
    """Something needs the whole teacher, of which lean memory holds some sites only."""

    def __init__(self, kept: Sequence[str], what: str = "this") -> None:
        """Name what cannot be done and what is there."""
        super().__init__(
            f"{what} needs the whole teacher, and lean memory holds only its {', '.join(kept)}; "
            "load the pair with full memory for that"
        )


class LeanTeacher:
    """The teacher's configuration and the modules of its kept sites."""

    def __init__(
        self,
        config: Any,
        ends: Any,
        kept: tuple[str, ...],
        modules: dict[Site, nn.Module],
        tied: bool,
    ) -> None:
        """Hold what was read.

        Args:
            config: The model's, as transformers completes it.
            ends: Its generation config, which names the tokens that end a reply.
            kept: Kinds of site.
            modules: Every site of these kinds.
            tied: Would the loaded model's head be its embeddings?
        """
        self.config, self.generation_config, self.tied = config, ends, tied
        self.kept, self.modules = kept, modules

    def __getattr__(self, name: str) -> Any:
        """Whatever else a model has; NotInMemory. Python's own probes see a missing attribute."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotInMemory(self.kept)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """NotInMemory: it cannot run."""
        raise NotInMemory(self.kept)


def read_lean(
    checkpoint: Checkpoint,
    student: Any,
    family: Family,
    kept: tuple[str, ...],
    both_tied: bool,
    progress: Progress | None = None,
) -> LeanTeacher:
    """Read a teacher's sites of the kinds `kept` from its files, tensor by tensor, nothing else.

    Args:
        checkpoint: The teacher's files.
        student: The loaded student, whose modules are the moulds. A tensor that is equal in both
            is the student's own.
        family: Their architecture.
        kept: Kinds of site.
        both_tied: Do both models tie their head to their embeddings?
        progress: Told how far it is; may raise LoadCancelled.

    Raises:
        PairError: A tensor that is not finite, or a site that is built otherwise.
    """
    layers = len(submodule(student, family.layers))
    places = places_of(family, layers, kept, both_tied)
    modules = {}
    for done, site in enumerate(places):
        if progress:
            progress(f"reading {short_name(checkpoint.name)}", done / len(places))
        modules[site] = _site(checkpoint, submodule(student, family.path(site)), family, site)
    if progress:
        progress(f"reading {short_name(checkpoint.name)}", 1.0)
    ends = ends_of(checkpoint)
    return LeanTeacher(checkpoint.settings, ends, kept, modules, checkpoint.tied)


def _site(checkpoint: Checkpoint, mould: nn.Module, family: Family, site: Site) -> nn.Module:
    names = checkpoint.tensors_of(family, site)
    ours = dict(mould.named_parameters())
    if names.keys() != ours.keys():
        raise PairError(
            f"{checkpoint.name}: {family.path(site)} holds {', '.join(names)}, the student's "
            f"{', '.join(ours)}; use full memory for this pair"
        )
    read = {}
    for part, mine in ours.items():
        theirs = checkpoint.part(names[part]).to(mine.device, mine.dtype)
        if not bool(torch.isfinite(theirs).all()):
            raise PairError(
                f"{checkpoint.name}: {names[part].name} holds NaN or infinite values; download it "
                f"again, or use another dtype if its range does not fit {mine.dtype}"
            )
        rows_may_differ = site.layer == OUTSIDE
        if not rows_may_differ and theirs.shape != mine.shape:
            raise PairError(
                f"{names[part].name} is {list(mine.shape)} in the student and {list(theirs.shape)} "
                "in the teacher; choose models of one size"
            )
        same = theirs.shape == mine.shape and torch.equal(theirs, mine)
        read[part] = mine.data if same else theirs
    return twin(mould, read)


def ends_of(checkpoint: Checkpoint) -> Any:
    """Its generation config, as transformers would give a whole model."""
    if (checkpoint.folder / "generation_config.json").is_file():
        try:
            return GenerationConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        except Exception as error:  # validation raises a kind of its own for each fault
            raise PairError(
                f"{checkpoint.name}: generation_config.json is not usable ({gist(error)}); "
                "download it again"
            ) from error
    return GenerationConfig.from_model_config(checkpoint.settings)
