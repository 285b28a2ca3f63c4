"""What an adapter's config says, read as PEFT reads it: is it a plain LoRA, and of which modules.

A plain one adds one low-rank difference to a matrix; settings that change a model in another way
are refused by their name. `fan_in_fan_out` has no say: it tells of layers that store the transpose,
which a family knows of (GPT-2's), and PEFT goes by the layers too. No tensor is read here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapa.core.errors import PairError, gist

CONFIG = "adapter_config.json"
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


@dataclass(frozen=True)
class LoraSettings:
    """An adapter's config, checked."""

    folder: Path
    told: Mapping[str, Any]
    """As it stands in the file."""

    @property
    def base(self) -> str:
        """The model it was made for, as its config names it; empty where it does not."""
        name = self.told.get("base_model_name_or_path")
        revision = self.told.get("revision")
        if not isinstance(name, str) or not name:
            return ""
        named = isinstance(revision, str) and revision and revision != "main"
        return f"{name}@{revision}" if named and name.count("/") == 1 else name

    @property
    def unread(self) -> list[str]:
        """Keys of its config that nobody here knows; they may mean nothing, or a newer method."""
        known = _IDLE | _READ | _OTHERWISE.keys()
        return sorted(k for k, v in self.told.items() if k not in known and v)

    @property
    def decisive(self) -> dict[str, Any]:
        """What of it decides what the adapter does, in one order."""
        return {key: self.told[key] for key in sorted(_READ & self.told.keys())}

    def rank(self, module: str) -> int:
        """The rank of a module's difference."""
        rank: int = self._of(module, "rank_pattern", self.told["r"])
        return rank

    def scale(self, module: str) -> float:
        """By what the product of a module's two factors is multiplied."""
        rank = self.rank(module)
        alpha = self._of(module, "alpha_pattern", self.told["lora_alpha"])
        scale: float = alpha / (math.sqrt(rank) if self.told.get("use_rslora") else rank)
        return scale

    def _of(self, module: str, pattern: str, usual: Any) -> Any:
        """A module's own value of rank or alpha, as PEFT looks it up."""
        for key, value in (self.told.get(pattern) or {}).items():
            if self._match(rf"(?:.*\.)?(?:{key})", module, pattern):
                return value
        return usual

    def _match(self, regex: str, module: str, key: str) -> re.Match[str] | None:
        """The whole module's name by a regex that its config gives under a key."""
        try:
            return re.fullmatch(regex, module)
        except re.error as error:
            raise wrong(self.folder, f"has a {key} that is no pattern ({gist(error)})") from error

    def targeted(
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
        if self.told.get("target_modules") is None:  # PEFT fills in a family's before it saves
            return found & frozenset(matrices)
        return frozenset(module for module in matrices if self._names(module, ends))

    def _names(self, module: str, ends: Collection[str]) -> bool:
        told = self.told
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
        layers = self.told.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.told.get("layers_pattern") or r"[^.]*"
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            whole = rf"(?:|.*?\.){pattern}\.(?P<layer_number>\d+)\..*"
            found = self._match(whole, module, "layers_pattern")
            if found is not None:
                return int(found["layer_number"]) in (
                    [layers] if isinstance(layers, int) else layers
                )
        return False


def read_settings(folder: Path) -> LoraSettings:
    """Read and check an adapter's config.

    Raises:
        PairError: Another method than LoRA, or a file that cannot be read, with the next step.
    """
    try:
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise wrong(folder, f"has no readable {CONFIG} ({gist(error)}); get it again") from error
    _check(folder, told)
    return LoraSettings(folder, told)


def wrong(folder: Path, why: str) -> PairError:
    """An adapter's fault in one line, with the next step."""
    return PairError(f"the adapter {folder} {why}{'' if ';' in why else f'; {_ELSE}'}")


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
