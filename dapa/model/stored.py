"""What lies in a checkpoint's folder besides plain weights: codes, keys nobody uses, adapters.

Told from config, headers and file names; no weight is read. Which keys a model uses is asked of
transformers itself, after its own conversion of names, and only where a name is not a family's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.checkpoint import Checkpoint
from dapa.model.codes import FORMATS
from dapa.model.families import Family
from dapa.model.findings import Finding

_BLOCKS = ("quantization_config", "compression_config", "quantization", "quant_config")
"""Keys of config.json under which quantisers write."""
_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Files in which AutoGPTQ, AutoAWQ and ModelOpt write the same."""
_CODES = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|SCB|CB|weight_format|absmax|quant_map|nested_absmax"
    r"|nested_quant_map|quant_state\.\S+|weight_scale(?:_inv|_2)?|input_scale|output_scale"
    r"|weight_packed|weight_shape|weight_zero_point|weight_g_idx|scale_inv|codes|codebooks"
    r"|biases|W_q|SZ_b|k_scale|v_scale|\w+_blocks|\w+_scales)$"
)
"""Tensors that belong to codes: of GPTQ, AWQ, bitsandbytes, FP8, compressed-tensors, AQLM, MLX,
HQQ, MXFP4."""
_WHOLE = {"F64", "F32", "F16", "BF16"}
_UNCOUNTED = re.compile(
    r"(rotary_emb\.inv_freq|rotary_pos_emb\.inv_freq|\.(attn|attention)\.(masked_)?bias)$"
)
"""Buffers that old versions saved and any model makes anew."""
_PREFIXES = {
    "_orig_mod.": "torch.compile",
    "module.": "DataParallel",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
    "base_model.model.": "PEFT",
    "model._orig_mod.": "torch.compile",
    "transformer.": "a wrapper",
    "language_model.": "a multimodal wrapper",
}


def quantised(side: str, checkpoint: Checkpoint) -> list[Finding]:
    """A blocking finding for weights that are codes, with the quantiser's name."""
    method = "" if checkpoint.codes else _method(checkpoint)
    codes = sorted(name for name in checkpoint.shapes if _CODES.search(name))
    odd = sorted(
        name
        for name, dtype in checkpoint.dtypes.items()
        if dtype not in _WHOLE and name.endswith((".weight", ".bias"))
    )
    if not (method or codes or odd):
        return []
    seen = ""
    if odd:
        seen = f" ({odd[0]} as {checkpoint.dtypes[odd[0]]})"
    elif codes:
        seen = f" ({codes[0]})"
    why = (
        f"its weights are stored as {method or 'codes of an unnamed method'}{seen}, and there is "
        f"no reader for that here ({', '.join(FORMATS)} have one); give the unquantised "
        "checkpoint, or save it dequantised first"
    )
    return [Finding("blocks", f"{side} quantised", why)]


def codes_told(student: Checkpoint, teacher: Checkpoint) -> list[Finding]:
    """Findings for weights that are read from codes, and for codes of one of the two alone."""
    found = [
        Finding(
            "fine",
            f"{side} codes",
            f"its weights are stored as {one.codes}; they are read as the numbers that they stand "
            "for, so they take the memory of numbers, and activations are not quantised",
        )
        for side, one in (("student", student), ("teacher", teacher))
        if one.codes
    ]
    if student.codes != teacher.codes:
        ours, theirs = (one.codes or "plain numbers" for one in (student, teacher))
        why = (
            f"the student's weights are stored as {ours}, the teacher's as {theirs}; a part of "
            "every difference is rounding, and sites differ that training left alone"
        )
        found.append(Finding("warns", "unequal quantisation", why))
    return found


def _method(checkpoint: Checkpoint) -> str:
    """The quantiser's own name and format; empty without any."""
    blocks: list[Any] = []
    for config in (checkpoint.config, checkpoint.config.get("text_config")):
        if isinstance(config, Mapping):
            blocks += [config.get(key) for key in _BLOCKS]
    for name in _FILES:
        path = checkpoint.folder / name
        if path.is_file():
            try:
                blocks.append(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, OSError, RecursionError):
                blocks.append(name)
    for block in blocks:
        if not block:
            continue
        if not isinstance(block, Mapping):
            return str(block)
        inner = block.get("quantization")
        if isinstance(inner, Mapping):  # ModelOpt
            block = {**block, **inner}
        named = block.get("quant_method") or block.get("quant_algo") or block.get("method")
        if not named and block.get("load_in_4bit"):
            named = "bitsandbytes 4 bit"
        if not named and block.get("load_in_8bit"):
            named = "bitsandbytes 8 bit"
        if not named and (block.get("bits") or block.get("w_bit")):
            named = f"{block.get('bits') or block.get('w_bit')}-bit codes"
        form = block.get("format")
        return f"{named or 'unknown'}{f' ({form})' if form else ''}"
    return ""


def adapters(side: str, checkpoint: Checkpoint) -> list[Finding]:
    """A finding for an adapter that lies beside whole weights: it is not applied."""
    path = checkpoint.folder / "adapter_config.json"
    weights = sorted(path.name for path in checkpoint.folder.glob("adapter_model*"))
    if not (path.is_file() or weights):
        return []
    kind = ""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        kind = f" ({told['peft_type']})" if isinstance(told.get("peft_type"), str) else ""
    except (ValueError, OSError, KeyError, AttributeError, RecursionError):
        pass
    lies = " and ".join([*(["adapter_config.json"] if path.is_file() else []), *weights[:1]])
    why = (
        f"an adapter{kind} lies beside the whole weights ({lies}) and is not applied; merge it "
        "first if it belongs to the model, else take it away"
    )
    return [Finding("warns", f"{side} adapter", why)]


def unused(side: str, checkpoint: Checkpoint, family: Family, layers: int) -> list[Finding]:
    """A finding for tensors that the loaded model leaves out.

    Raises:
        PairError: transformers cannot build the model.
    """
    if checkpoint.codes:  # it is loaded from its numbers, by name
        return []
    places = family.places(layers)
    every = (at for site in places for at in checkpoint.tensors_of(family, site).values())
    own = {name for at in every for name in at.names}
    strange = [n for n in checkpoint.shapes if n not in own and not _UNCOUNTED.search(n)]
    if not strange:
        return []
    left = sorted(n for n in _left_out(checkpoint) if not _UNCOUNTED.search(n))
    if not left:
        return []
    if checkpoint.inside:
        why = (
            f"{family.title}, the text model inside {checkpoint.config['model_type']}, is used "
            f"alone; {len(left):,} tensors, of images and the like, are not read"
        )
        return [Finding("fine", f"{side} text model", why)]
    more = f" and {len(left) - 1:,} more" if len(left) > 1 else ""
    why = (
        f"{left[0]}{more} of its {len(checkpoint.shapes):,} tensors {'are' if more else 'is'} not "
        f"used by {family.title} as transformers builds it; the model runs without, so check that "
        "it is what was meant"
    )
    return [Finding("warns", f"{side} tensors", why)]


def _left_out(checkpoint: Checkpoint) -> Iterable[str]:
    """The checkpoint's names that transformers finds no place for, by its own conversion."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        _, info = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            device_map="meta",  # nothing is read: names and shapes alone
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **NO_ADAPTER,
            **checkpoint.asking,
        )
    except Exception as error:  # each architecture raises a kind of its own
        raise PairError(
            f"{checkpoint.name} cannot be built ({gist(error)}); check config.json against the "
            "weights, or download it again"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    return [str(name) for name in info.get("unexpected_keys") or ()]


_SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"),
)
NO_ADAPTER: dict[str, Any] = {"adapter_kwargs": {"subfolder": ".none"}}
"""For `from_pretrained`, which applies whatever adapter lies in a folder: look elsewhere."""


def prefix_of(checkpoint: Checkpoint, name: str) -> str:
    """Why a tensor that should be there is not, if all names stand under a wrapper's; else ""."""
    for prefix, maker in _PREFIXES.items():
        if prefix + name in checkpoint.shapes:
            return (
                f"its tensors are named under {prefix} ({maker} saved them so); rename them, "
                f"{prefix}{name} to {name} and so on, or save the unwrapped model"
            )
    bare = name.removeprefix("model.")
    if bare != name and bare in checkpoint.shapes:
        return (
            f"its tensors are named as those of a model without a head ({bare} for {name}); save "
            "the causal language model, head and all"
        )
    return ""


def sizes(side: str, checkpoint: Checkpoint) -> list[Finding]:
    """A blocking finding for sizes that no model has, or that the weights do not bear out."""
    settings, most = checkpoint.settings, 2**31
    for key in _SIZES:
        value = getattr(settings, key, None)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < most:
            why = f"{key} is {str(value)[:40]}, which no model has; check config.json"
            return [Finding("blocks", f"{side} config", why)]
    tensors = len(checkpoint.shapes)
    if settings.num_hidden_layers > tensors:
        why = (
            f"{settings.num_hidden_layers:,} layers are promised and {tensors:,} tensors are there;"
            " check config.json"
        )
        return [Finding("blocks", f"{side} config", why)]
    return []
