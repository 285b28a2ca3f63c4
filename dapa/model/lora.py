"""LoRA adapters as PEFT saves them, read by our own code: one low-rank difference a matrix.

The weight of a matrix W that an adapter changes is W + s B A (Hu et al., arXiv 2106.09685), with
s = alpha / r, or alpha / sqrt(r) for rank-stabilised ones (Kalajdzievski, arXiv 2312.03732).
`fan_in_fan_out` has no say: it tells of layers that store the transpose, which a family knows of
(GPT-2's), and PEFT goes by the layers too. What changes a model in another way is refused by its
name. This module reads files and tensors; it does not know models.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dapa.core.errors import gist
from dapa.core.records import PairError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ELSE = "merge it into its base first"
_IDLE = {
    *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type"),
    *("peft_type", "peft_version", "lora_dropout", "megatron_core", "fan_in_fan_out"),
    *("qalora_group_size", "eva_config", "velora_config", "runtime_config", "merge_weights"),
    "ensure_weight_tying",
}
"""Keys that decide nothing once the weights are trained."""
_READ = {
    *("r", "lora_alpha", "use_rslora", "target_modules", "exclude_modules", "rank_pattern"),
    *("alpha_pattern", "layers_to_transform", "layers_pattern", "modules_to_save", "bias"),
    "init_lora_weights",
}
_OTHERWISE = {
    "use_dora": "DoRA, which scales columns too",
    "use_qalora": "QALoRA, which pools the inputs",
    "use_bdlora": "block-diagonal matrices",
    "lora_bias": "a bias of its own on every matrix",
    "layer_replication": "layers that repeat",
    "alora_invocation_tokens": "a start at certain tokens (aLoRA)",
    "trainable_token_indices": "single rows of the embeddings",
    "target_parameters": "parameters that are no modules, as of experts",
    "arrow_config": "routing among adapters (Arrow)",
    "kasa_config": "singular values of its own (KaSA)",
    "monteclora_config": "random draws (MonteCLoRA)",
    "megatron_config": "layers split over machines (Megatron)",
    "enable_lora": "parts of fused matrices",
    "loftq_config": "a base changed to suit it (LoftQ)",
    "corda_config": "a base changed to suit it (CorDA)",
    "lora_ga_config": "a base changed to suit it (LoRA-GA)",
}
"""Settings that change a model otherwise than by one low-rank difference a matrix."""
_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin that change the base too."""
_PART = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$)\w+)?(?:\.weight)?")
_SAVED = re.compile(r"\.(?:base_layer|modules_to_save(?:\.\w+)?)(?=\.\w+$)")


@dataclass(frozen=True)
class Difference:
    """What an adapter adds to one matrix: `scale` B A."""

    a: str
    """The tensor (r, d_in) in the adapter's file."""
    b: str
    """The tensor (d_out, r)."""
    scale: float
    rank: int
    turned: bool = False
    """Of embeddings, which hold a row a token, and of GPT-2: the product stands on its side."""


@dataclass(frozen=True)
class Lora:
    """An adapter's folder, with its settings checked and no tensor read."""

    folder: Path
    settings: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """Name in the adapter's file -> shape."""

    @property
    def base(self) -> str:
        """The model it was made for, as its config names it; empty where it does not."""
        name = self.settings.get("base_model_name_or_path")
        revision = self.settings.get("revision")
        if not isinstance(name, str) or not name:
            return ""
        named = isinstance(revision, str) and revision and revision != "main"
        return f"{name}@{revision}" if named and name.count("/") == 1 else name

    @property
    def files(self) -> list[Path]:
        """What it is made of."""
        return [self.folder / CONFIG, self.folder / WEIGHTS]

    @cached_property
    def mark(self) -> str:
        """A name that changes with whatever decides what it does."""
        told = {key: self.settings[key] for key in sorted(_READ & self.settings.keys())}
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16)
        with (self.folder / WEIGHTS).open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
        return digest.hexdigest()

    @property
    def unread(self) -> list[str]:
        """Keys of its config that nobody here knows; they may mean nothing, or a newer method."""
        known = _IDLE | _READ | _OTHERWISE.keys()
        return sorted(k for k, v in self.settings.items() if k not in known and v)

    def tensor(self, name: str) -> Tensor:
        """One of its tensors."""
        with safe_open(self.folder / WEIGHTS, "pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]

    def parts(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        ends: Collection[str] = (),
        turned: tuple[str, ...] = (),
        inside: Callable[[str], str | None] | None = None,
    ) -> tuple[dict[str, Difference], dict[str, str]]:
        """What it changes in a base.

        Args:
            shapes: The base's tensors.
            ends: Modules that `all-linear` leaves out: embeddings and head.
            turned: How modules end that store their weights as (inputs, outputs).
            inside: Of a text model inside a multimodal one, what it calls a wrapper's tensor; None
                for those of the rest, which are left out.

        Returns:
            Tensor of the base -> its difference, and tensor of the base -> the adapter's tensor
            that takes its place whole (`modules_to_save`).

        Raises:
            PairError: What does not fit together, with the next step.
        """
        found: dict[str, dict[str, str]] = {}
        on_side: set[str] = set()
        spelled: dict[str, str] = {}  # patterns are meant for the adapter's own names
        saved: dict[str, str] = {}
        for key in self.shapes:
            named = key.removeprefix("base_model.model.")
            bare = named if inside is None else inside(named)
            if bare is None:
                continue
            match = _PART.fullmatch(bare)
            if match is None:
                whole = _SAVED.sub("", bare)  # PEFT also saves a base's ends that it adapts
                end = whole.removesuffix(".weight")
                if end in ends and whole not in shapes:
                    raise self._wrong(
                        f"changes {end} (target_modules or modules_to_save), which its base ties "
                        "to the other end of the model; save the merged model instead"
                    )
                if whole not in shapes:
                    raise self._wrong(f"holds {key}, which its base has no place for")
                saved[whole] = key
                continue
            module, embedding, side = match.groups()
            own = _PART.fullmatch(named)
            spelled[module] = own[1] if own else module
            if side in found.setdefault(module, {}):
                raise self._wrong(f"holds two adapters, as in {key}")
            found[module][side] = key
            on_side |= {module} if embedding or module.endswith(turned) else set()
        targeted = frozenset(found)
        if inside is None:  # else the patterns were meant for other names
            targeted = self._targeted(targeted, shapes, ends)
        else:
            targeted &= {name.removesuffix(".weight") for name in shapes}
        for module in sorted(found.keys() - targeted):
            why = f"holds tensors of {module}"
            if f"{module}.weight" not in shapes:
                raise self._wrong(f"{why}, which its base has not; give the base it was made for")
            raise self._wrong(f"{why}, which the target_modules of {CONFIG} do not name")
        made = {}
        for module in sorted(targeted):
            sides = found.get(module, {})
            if sides.keys() != {"A", "B"}:
                lost = "lora_A" if "A" not in sides else "lora_B"
                raise self._wrong(f"lacks {lost} of {module}; it is not whole, so get it again")
            made[f"{module}.weight"] = self._difference(
                spelled[module], sides, shapes[f"{module}.weight"], module in on_side
            )
        for name, key in saved.items():
            if self.shapes[key] != shapes[name]:
                raise self._wrong(
                    f"{name} is {list(self.shapes[key])} in it and {list(shapes[name])} in its base"
                )
        return made, saved

    def _difference(
        self, module: str, sides: Mapping[str, str], shape: tuple[int, ...], turned: bool
    ) -> Difference:
        rank = self._of(module, "rank_pattern", self.settings["r"])
        alpha = self._of(module, "alpha_pattern", self.settings["lora_alpha"])
        a, b = self.shapes[sides["A"]], self.shapes[sides["B"]]
        out, into = reversed(shape) if turned else shape
        if (a, b) != ((rank, into), (out, rank)):
            raise self._wrong(
                f"{module} has A {list(a)} and B {list(b)}, which is not rank {rank} on its base's "
                f"{list(shape)}; give the base it was made for"
            )
        scale = alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)
        return Difference(sides["A"], sides["B"], scale, rank, turned)

    def _of(self, module: str, pattern: str, usual: Any) -> Any:
        """A module's own value of rank or alpha, as PEFT looks it up."""
        for key, value in (self.settings.get(pattern) or {}).items():
            if self._match(rf"(?:.*\.)?(?:{key})", module, pattern):
                return value
        return usual

    def _match(self, regex: str, module: str, key: str) -> re.Match[str] | None:
        """The whole module's name by a regex that its config gives under a key."""
        try:
            return re.fullmatch(regex, module)
        except re.error as error:
            raise self._wrong(f"has a {key} that is no pattern ({gist(error)})") from error

    def _targeted(
        self,
        found: frozenset[str],
        shapes: Mapping[str, tuple[int, ...]],
        ends: Collection[str],
    ) -> frozenset[str]:
        """The modules that its config names, by PEFT's rules."""
        matrices = [
            name.removesuffix(".weight")
            for name, shape in shapes.items()
            if name.endswith(".weight") and len(shape) == 2
        ]
        if self.settings.get("target_modules") is None:  # PEFT fills in a family's before it saves
            return found & frozenset(matrices)
        return frozenset(module for module in matrices if self._names(module, ends))

    def _names(self, module: str, ends: Collection[str]) -> bool:
        told = self.settings
        for kept in told.get("modules_to_save") or ():
            if self._match(rf"(?:.*\.)?{kept}(?:\..*)?", module, "modules_to_save"):
                return False
        if self._listed(module, told.get("exclude_modules"), "exclude_modules"):
            return False
        wanted = told.get("target_modules")
        if isinstance(wanted, str) and wanted.lower() == "all-linear":
            return module not in ends
        if not self._listed(module, wanted, "target_modules"):
            return False
        return isinstance(wanted, str) or module in wanted or self._in_layers(module)

    def _listed(self, module: str, names: Any, key: str) -> bool:
        if isinstance(names, str):
            return bool(names) and self._match(names, module, key) is not None
        return any(module == name or module.endswith(f".{name}") for name in names or ())

    def _in_layers(self, module: str) -> bool:
        layers = self.settings.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.settings.get("layers_pattern") or r"[^.]*"
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            whole = rf"(?:|.*?\.){pattern}\.(?P<layer_number>\d+)\..*"
            found = self._match(whole, module, "layers_pattern")
            if found is not None:
                return int(found["layer_number"]) in (
                    [layers] if isinstance(layers, int) else layers
                )
        return False

    def _wrong(self, why: str) -> PairError:
        return wrong(self.folder, why)


def wrong(folder: Path, why: str) -> PairError:
    """An adapter's fault in one line, with the next step."""
    return PairError(f"the adapter {folder} {why}{'' if ';' in why else f'; {_ELSE}'}")


def is_adapter(folder: Path) -> bool:
    """Does a folder hold an adapter and no whole model?"""
    whole = ("model.safetensors", "model.safetensors.index.json")
    if not (folder / CONFIG).is_file():
        return False
    return not ((folder / "config.json").is_file() and any((folder / w).is_file() for w in whole))


def read_lora(folder: Path) -> Lora:
    """Read an adapter's config and header.

    Raises:
        PairError: Another method than LoRA, or files that cannot be read, with the next step.
    """
    try:
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise wrong(folder, f"has no readable {CONFIG} ({gist(error)}); get it again") from error
    _check(folder, told)
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise wrong(
                folder,
                "has only pickled weights (adapter_model.bin), which can run code when opened; "
                "convert them to safetensors first",
            )
        raise wrong(folder, f"has no {WEIGHTS}; give the folder of a whole adapter")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {str(part.get_dtype()) for part in slices.values()}
    except (SafetensorError, OSError, ValueError) as error:
        raise wrong(
            folder,
            f"has a {WEIGHTS} ({path.stat().st_size} bytes) that is not whole ({gist(error)}); "
            "get it again",
        ) from error
    if not shapes:
        raise wrong(folder, f"has a {WEIGHTS} without tensors; get it again")
    if strange := sorted(kind for kind in types if not kind.startswith(("F", "BF"))):
        raise wrong(folder, f"holds tensors of type {strange[0]}, which are no plain numbers")
    return Lora(folder, told, shapes)


def _check(folder: Path, told: Any) -> None:
    """PairError for settings that are not a plain LoRA's."""
    if not isinstance(told, dict) or not isinstance(told.get("peft_type"), str):
        raise wrong(folder, f"names no peft_type in {CONFIG}, so it is not one of PEFT's")
    if told["peft_type"].upper() != "LORA":
        raise wrong(folder, f"is {told['peft_type'][:40]}, and only LoRA is read here")
    task = told.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise wrong(folder, f"was trained for {str(task)[:40]}; give one for CAUSAL_LM")
    if told.get("bias") not in (None, "none"):
        why = f"trains biases too (bias {str(told['bias'])[:40]!r}), which are not read here"
        raise wrong(folder, why)
    for key, what in _OTHERWISE.items():
        if told.get(key):
            raise wrong(folder, f"uses {what} ({key}), which is not read here")
    start = told.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_STARTS):
        raise wrong(
            folder,
            f"began as {start[:40]}, which changes the base as well; save it converted to plain "
            "LoRA (path_initial_model_for_weight_conversion), or merge it into its base first",
        )
    for key, kinds in _KINDS.items():
        value = told.get(key)
        if not _is(value, kinds):
            raise wrong(folder, f"has {key} {str(value)[:60]!r}, which is no value for it")
    for pattern in ("rank_pattern", "alpha_pattern"):
        for key, value in (told.get(pattern) or {}).items():
            if not _is(value, (int, float)) or not 0 < value <= _MOST:
                raise wrong(folder, f"has {pattern} {key[:40]!r}: {str(value)[:40]!r}")
    if not 1 <= told["r"] <= _MOST or not abs(told["lora_alpha"]) <= _MOST:
        r, alpha = (str(told[key])[:40] for key in ("r", "lora_alpha"))
        raise wrong(folder, f"has r {r} and lora_alpha {alpha}")


_MOST = 2**31
"""No rank and no alpha is larger; NaN is not smaller either."""
_NONE = type(None)
_KINDS: Mapping[str, tuple[Any, ...]] = {
    "r": (int,),
    "lora_alpha": (int, float),
    "rank_pattern": (dict, _NONE),
    "alpha_pattern": (dict, _NONE),
    "target_modules": (str, list, _NONE),
    "exclude_modules": (str, list, _NONE),
    "modules_to_save": (list, _NONE),
    "layers_to_transform": (int, list, _NONE),
    "layers_pattern": (str, list, _NONE),
    "use_rslora": (bool, _NONE),
}


def _is(value: Any, kinds: tuple[Any, ...]) -> bool:
    """Is a value of one of these kinds? Lists hold texts or whole numbers; no bool is a number."""
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, list):
        return list in kinds and all(type(item) in (str, int) for item in value)
    return isinstance(value, kinds)


def low_rank(lora: Lora, part: Difference, rows: slice | None = None) -> Tensor:
    """An adapter's difference of one matrix, or of some of its rows, in float32 or wider."""
    a, b = lora.tensor(part.a), lora.tensor(part.b)
    # not torch.promote_types, which knows no float8
    wide = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    a, b = a.to(wide), b.to(wide)
    if part.turned:
        return (b @ (a if rows is None else a[:, rows])).T * part.scale
    return ((b if rows is None else b[rows]) @ a) * part.scale
