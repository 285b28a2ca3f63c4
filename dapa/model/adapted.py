"""A model that is a base and an adapter: `BASE+ADAPTER`, or the adapter's folder by itself.

No second copy of the base is made. A tensor that the adapter leaves alone is the base's own, so a
student and a teacher on one base share its storage; of the others the weight W + s B A is made
once, where it is needed (lean memory: of the sites that are kept), so that what a mask shows is, to
the token, what an export holds. Low-rank memory holds A and B alone and runs W x + s B (A x), which
is less by nearly a model and rounds otherwise (`factored`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dapa.core.records import PairError
from dapa.model.architectures import FAMILIES, inside_name
from dapa.model.checkpoint import Checkpoint, open_whole
from dapa.model.factored import Factored
from dapa.model.families import Family, submodule
from dapa.model.files import Progress, folder_of
from dapa.model.findings import Finding
from dapa.model.ggufs import gguf_in, open_gguf
from dapa.model.lora import Difference, Lora, is_adapter, low_rank, read_lora
from dapa.model.lora_settings import wrong
from dapa.model.spec import is_folder, short_name, split
from dapa.model.unpacked import unpacked


@dataclass(frozen=True)
class Adapted(Checkpoint):
    """A base's files with an adapter on top; whatever is asked of it, the adapter is applied."""

    base: Checkpoint
    lora: Lora
    differences: dict[str, Difference]
    """Tensor of the base -> what is added to it."""
    saved: dict[str, str]
    """Tensor of the base -> the adapter's tensor in its place (`modules_to_save`)."""

    @property
    def codes(self) -> str:
        """The format of codes that the base's weights are read from."""
        return self.base.codes

    @property
    def quantiser(self) -> Mapping[str, Any]:
        """What the base's config says of these codes."""
        return self.base.quantiser

    @property
    def changed(self) -> frozenset[str]:
        """The tensors that are not the base's."""
        return frozenset(self.differences) | frozenset(self.saved)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; a changed one is made, in float32 or wider."""
        kept = self.saved.get(name)
        whole = self.base.tensor(name) if kept is None else self.lora.tensor(kept)
        return self._added(name, whole, None) if name in self.differences else whole

    @contextmanager
    def rows(self, name: str) -> Iterator[Any]:
        """One tensor to be read a few rows at a time; each is made when it is read."""
        if name in self.saved:
            yield self.tensor(name)
            return
        with self.base.rows(name) as whole:
            yield _Rows(self, name, whole) if name in self.differences else whole

    def _added(self, name: str, whole: Tensor, rows: slice | None) -> Tensor:
        difference = low_rank(self.lora, self.differences[name], rows)
        return whole.to(torch.promote_types(whole.dtype, difference.dtype)) + difference

    @property
    def files(self) -> list[Path]:
        """Every file that holds weights."""
        return [*self.base.files, *self.lora.files]

    @property
    def weight_files(self) -> list[str]:
        """The names of the base's files."""
        return self.base.weight_files

    @property
    def words(self) -> Path:
        """The folder of its tokenizer: the adapter's, where a whole one lies beside it."""
        folder = self.lora.folder
        whole = ("tokenizer.json", "tokenizer_config.json")
        return folder if all((folder / name).is_file() for name in whole) else self.base.words

    @cached_property
    def mark(self) -> str:
        """A name of what the adapter does."""
        return self.lora.mark

    def findings(self, side: str) -> list[Finding]:
        """What a compatibility report says of the adapter."""
        ranks = sorted({part.rank for part in self.differences.values()})
        shown = "" if not ranks else f" of rank {ranks[0]}"
        shown += f" to {ranks[-1]}" if len(ranks) > 1 else ""
        kinds = dict.fromkeys(name.split(".")[-2] for name in self.differences)
        what = f"a LoRA adapter{shown} on {len(self.differences)} matrices ({', '.join(kinds)})"
        if self.saved:
            what += f", and {', '.join(self.saved)} whole"
        made = self.lora.settings.base.rstrip("/").rpartition("/")[2]
        made = f"; it was made for {made}" if made else ""
        found = [Finding("fine", f"{side} adapter", f"{what}; all else is {self.base.name}{made}")]
        if self.lora.settings.unread:
            keys = ", ".join(self.lora.settings.unread)
            why = f"its config sets {keys[:200]}, which is not known here and not applied"
            found.append(Finding("warns", f"{side} adapter", why))
        return found


class _Rows:
    """A changed tensor that is read by slices."""

    def __init__(self, adapted: Adapted, name: str, whole: Any) -> None:
        self._adapted, self._name, self._whole = adapted, name, whole

    def __getitem__(self, rows: slice) -> Tensor:
        return self._adapted._added(self._name, self._whole[rows], rows)


def open_checkpoint(name: str, progress: Progress | None = None) -> Checkpoint:
    """Find a model's files and read its config and headers.

    Args:
        name: A local folder, `org/name` or `org/name@revision` on the hub, the name of what was
            fetched, an adapter's folder (its config names the base), or `BASE+ADAPTER`.
        progress: Told while the hub's files are being fetched.

    Raises:
        PairError: Whatever keeps it from being read, with the next step.
    """
    return _opened(name, progress, ())


def _opened(name: str, progress: Progress | None, over: tuple[Path, ...]) -> Checkpoint:
    """`open_checkpoint`, knowing the adapters above, so that none can stand on itself."""
    base, adapter = split(name)
    folder = folder_of(adapter or base, progress)
    if adapter:
        if not is_adapter(folder):
            raise PairError(
                f"{adapter} holds no adapter (adapter_config.json and adapter_model.safetensors); "
                "after + give an adapter's folder"
            )
        lora = read_lora(folder)  # what is refused anyway need not fetch its base
        return adapted(name, _opened(base, progress, over), lora)
    file = folder if folder.is_file() else gguf_in(folder)
    if file is not None:
        return open_gguf(name, file)
    if not is_adapter(folder):
        return unpacked(open_whole(name, folder))
    lora = read_lora(folder)
    if not lora.settings.base:
        raise wrong(folder, f"names no base; give it as in BASE+{name}")
    if folder.resolve() in over:
        raise wrong(folder, "names a base that stands on it in turn")
    try:
        whole = _opened(_beside(lora), progress, (*over, folder.resolve()))
    except PairError as error:
        line = f"is for {lora.settings.base[:100]}: {error}; or give the base as in BASE+{name}"
        raise wrong(folder, line) from error
    return adapted(name, whole, lora)


def _beside(lora: Lora) -> str:
    """The base's name; a relative folder may be meant from where the adapter lies."""
    near = str(lora.folder / lora.settings.base)
    return near if not is_folder(lora.settings.base) and is_folder(near) else lora.settings.base


def adapted(name: str, base: Checkpoint, lora: Lora) -> Adapted:
    """A base with an adapter on top; PairError where they do not fit."""
    family = FAMILIES.get(base.model_type)
    ends = (family.embeddings, family.head) if family else ("lm_head",)
    turned = tuple(p for kind, p in family.sites if kind in family.turned) if family else ()
    theirs = {base.ours.get(name, name): name for name in base.shapes}
    shapes = {name: base.shapes[file] for name, file in theirs.items()}
    differences, saved = lora.parts(shapes, ends, turned, inside_name if base.wrapped else None)
    for end in ends if base.tied else ():
        name_of = f"{end}.weight"
        same = name_of in saved and torch.equal(
            lora.tensor(saved[name_of]).float(), base.tensor(theirs[name_of]).float()
        )
        if same:
            del saved[name_of]  # PEFT saves embeddings that it only looked at
        if name_of in differences or name_of in saved:
            raise wrong(
                lora.folder,
                f"changes {end}, which its base ties to the other end of the model, so that one "
                "matrix would become two; save the merged model instead",
            )
    plain = {field.name: getattr(base, field.name) for field in fields(Checkpoint)}
    plain |= {"name": name, "bytes": base.bytes + lora.files[1].stat().st_size}
    differences = {theirs[name]: part for name, part in differences.items()}
    saved = {theirs[name]: key for name, key in saved.items()}
    made = Adapted(**plain, base=base, lora=lora, differences=differences, saved=saved)
    if not made.changed:
        raise wrong(lora.folder, f"changes nothing in {base.name}; give another adapter")
    most = getattr(base.settings, "vocab_size", len(base.tokenizer))
    if made.words != base.words and len(made.tokenizer) > most:
        raise wrong(
            lora.folder,
            f"brings a tokenizer of {len(made.tokenizer)} tokens for a base of {most}; take the "
            "tokenizer out of its folder, or save the merged model",
        )
    return made


def _root(checkpoint: Checkpoint) -> Checkpoint:
    while isinstance(checkpoint, Adapted):
        checkpoint = checkpoint.base
    return checkpoint


def _changed(checkpoint: Checkpoint) -> frozenset[str]:
    if not isinstance(checkpoint, Adapted):
        return frozenset()
    return checkpoint.changed | _changed(checkpoint.base)


def parted(ours: Checkpoint, theirs: Checkpoint) -> frozenset[str] | None:
    """The tensors in which two models on one base may differ; None where they have no one base."""
    if _root(ours).place != _root(theirs).place:
        return None
    return _changed(ours) | _changed(theirs)


def beside(ours: Checkpoint, theirs: Checkpoint, family: Family) -> dict[str, int] | None:
    """The teacher's matrices that can stay the student's own and a low-rank difference.

    Where a family parts or turns a matrix after it is loaded, the matrix is made all the same.

    Returns:
        Tensor -> how many numbers its factors hold; None where the teacher is not the student and
        adapters.
    """
    if isinstance(ours, Adapted) or parted(ours, theirs) is None:
        return None
    ranks: dict[str, int] = {}
    whole: set[str] = set()
    above = theirs
    while isinstance(above, Adapted):
        whole |= above.saved.keys()
        for name, difference in above.differences.items():
            ranks[name] = ranks.get(name, 0) + difference.rank
            whole |= {name} if difference.turned or _reshaped(family, name) else set()
        above = above.base
    return {n: rank * sum(theirs.shapes[n]) for n, rank in ranks.items() if n not in whole}


def _reshaped(family: Family, name: str) -> bool:
    paths = [path for path, _ in family.fused] + [family.site_path(k) for k in family.turned]
    return any(name.endswith(f".{path}.weight") for path in paths)


def _factors(checkpoint: Checkpoint, name: str) -> tuple[Tensor, Tensor]:
    """All that the adapters add to a matrix, as A (r, d_in) and B (d_out, r) with their scales."""
    sides = []
    while isinstance(checkpoint, Adapted):
        part = checkpoint.differences.get(name)
        if part is not None:
            a, b = (checkpoint.lora.tensor(side).float() for side in (part.a, part.b))
            sides.append((a, b * part.scale))
        checkpoint = checkpoint.base
    return torch.cat([a for a, _ in sides]), torch.cat([b for _, b in sides], 1)


def derived(
    model: Any,
    checkpoint: Checkpoint,
    names: Collection[str],
    progress: Progress | None = None,
    aside: Collection[str] = (),
) -> Any:
    """A model like this one with some tensors read from a checkpoint; all others are shared.

    Args:
        model: A loaded model on the checkpoint's base; it stays as it is.
        checkpoint: Whose tensors to take.
        names: Which.
        progress: Told how far it is; may raise LoadCancelled.
        aside: Those of them whose adapters stay beside the model's own matrix, as `beside` says.

    Raises:
        PairError: A tensor that is not finite, or that the model has no place for.
    """
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters()
    }
    made = deepcopy(model, memo)
    for done, name in enumerate(sorted(names)):
        if progress:
            progress(f"reading {short_name(checkpoint.name)}", done / len(names))
        path, _, leaf = checkpoint.ours.get(name, name).rpartition(".")
        try:
            module = submodule(made, path)
            old = getattr(module, leaf)
        except AttributeError:
            raise PairError(
                f"{checkpoint.name}: {name} has no place in the model as transformers builds it; "
                "save the merged model instead"
            ) from None
        kept = None
        if name in aside and type(module) is nn.Linear:
            kept = Factored(module, *_factors(checkpoint, name)).eval()
        new = checkpoint.tensor(name) if kept is None else kept.weight
        new = new.to(old.device, old.dtype)
        if not bool(torch.isfinite(new).all()):
            raise PairError(
                f"{checkpoint.name}: {name} holds NaN or infinite values; download it again, or "
                f"use another dtype if its range does not fit {old.dtype}"
            )
        if kept is None:
            setattr(module, leaf, nn.Parameter(new, requires_grad=False))
            continue
        parent, _, own = path.rpartition(".")
        setattr(submodule(made, parent), own, kept)
    return made
