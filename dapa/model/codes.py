"""Weights that are stored as codes, read as the numbers that they stand for.

A reader a format, in plain torch, so that nothing but torch has to be there: bitsandbytes in 8 and
4 bit, GPTQ, AWQ, FP8, compressed-tensors and MXFP4. A mask then moves whole modules, blends and
blocks of neurons as in any other pair, and a teacher that was not quantised stands beside it. The
price is memory: numbers take what numbers take. Formats that quantise activations too (LLM.int8,
W8A8, FP8) do not do so here; the report says that codes were read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dapa.core.records import PairError

Read = Callable[[str], Tensor]
"""Name in the file -> its tensor."""
Facts = Mapping[str, Any]
"""The quantiser's block of config.json."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Coded:
    """One weight that stands as several tensors."""

    form: Format
    stem: str
    """What these names begin with."""
    parts: Mapping[str, str]
    """What follows the stem -> the tensor's name."""

    def need(self, part: str) -> str:
        """A tensor's name; PairError where the file lacks it."""
        if part not in self.parts:
            raise PairError(
                f"{self.stem}{part} is not among its tensors, and the codes cannot be read without "
                "it; download the model again"
            )
        return self.parts[part]

    def numbers(self, read: Read, told: Facts) -> Tensor:
        """The weight, in float32."""
        return self.form.decode(self, read, told)

    def shape(self, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
        """The weight's shape, from headers and what is written down about it."""
        return self.form.shape(self, shapes, read, told)


@dataclass(frozen=True)
class Format:
    """How one quantiser writes."""

    title: str
    marks: tuple[str, ...]
    """What a name ends with that only codes have."""
    weight: str
    """What the weight is called behind the stem."""
    decode: Callable[[Coded, Read, Facts], Tensor]
    shape: Callable[[Coded, Shapes, Read, Facts], tuple[int, ...]]


def _bits(packed: Tensor, bits: int) -> Tensor:
    """The codes in each int32, lowest first, along a new last dimension."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    return (packed.unsqueeze(-1) >> shifts) & (2**bits - 1)


def _state(coded: Coded, read: Read) -> dict[str, Any]:
    """What bitsandbytes notes beside a weight, as JSON in bytes."""
    states = [name for part, name in coded.parts.items() if part.startswith(".quant_state")]
    name = states[0] if states else coded.need(".quant_state")
    facts: dict[str, Any] = json.loads(bytes(read(name).tolist()))
    return facts


def _four_bits(coded: Coded, read: Read, told: Facts) -> Tensor:
    """NF4 and FP4 of bitsandbytes: two codes a byte, the first one high; a scale a block."""
    packed, facts = read(coded.need("")).flatten(), _state(coded, read)
    scales = read(coded.need(".absmax"))
    if facts.get("nested_blocksize"):
        table, outer = (read(coded.need(f".nested_{k}")) for k in ("quant_map", "absmax"))
        outer = outer.repeat_interleave(int(facts["nested_blocksize"]))[: scales.numel()]
        scales = table[scales.long()] * outer + float(facts["nested_offset"])
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten().long()
    size = torch.Size(facts["shape"])
    values = read(coded.need(".quant_map")).float()[codes[: size.numel()]]
    scales = scales.float().repeat_interleave(int(facts["blocksize"]))[: size.numel()]
    return (values * scales).view(size)


def _eight_bits(coded: Coded, read: Read, told: Facts) -> Tensor:
    """LLM.int8 of bitsandbytes: a scale a row."""
    if "weight_format" in coded.parts and int(read(coded.parts["weight_format"])) != 0:
        raise PairError(f"{coded.stem}weight is not stored row by row; save the model again")
    return read(coded.need("weight")).float() * (read(coded.need("SCB")).float() / 127)[:, None]


def _gptq(coded: Coded, read: Read, told: Facts) -> Tensor:
    """Codes packed along the inputs; a scale and a zero a group of inputs, stored one too low."""
    bits = int(told.get("bits", 4))
    if bits not in (2, 4, 8):
        raise PairError(f"{coded.stem}qweight holds {bits}-bit codes; 2, 4 and 8 can be read")
    codes = _bits(read(coded.need("qweight")), bits).transpose(1, 2).flatten(0, 1)  # (in, out)
    zeros = _bits(read(coded.need("qzeros")), bits).flatten(1)
    if told.get("checkpoint_format", "gptq") != "gptq_v2":
        zeros = (zeros + 1) & (2**bits - 1)
    scales = read(coded.need("scales")).float()
    if "g_idx" in coded.parts:
        group = read(coded.parts["g_idx"]).long()
    else:
        group = torch.arange(len(codes)) // (len(codes) // len(scales))
    return ((codes - zeros[group]).float() * scales[group]).T.contiguous()


def _awq(coded: Coded, read: Read, told: Facts) -> Tensor:
    """Codes packed along the outputs, by turns; a scale and a zero a group of inputs."""
    if str(told.get("version", "gemm")).lower() != "gemm" or int(told.get("bits", 4)) != 4:
        raise PairError(
            f"{coded.stem}qweight is AWQ {told.get('version')} of {told.get('bits')} bits; gemm of "
            "4 bits can be read"
        )
    turns = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    codes, zeros = (
        _bits(read(coded.need(part)), 4)[..., turns].flatten(1) for part in ("qweight", "qzeros")
    )
    scales = read(coded.need("scales")).float()
    group = torch.arange(len(codes)) // (len(codes) // len(scales))
    return ((codes - zeros[group]).float() * scales[group]).T.contiguous()


def _scaled(weight: Tensor, scale: Tensor, block: Any = None) -> Tensor:
    """A weight times its scales: one, one a row, or one a block."""
    weight, scale = weight.float(), scale.float()
    if scale.numel() == 1:
        return weight * scale.flatten()
    if scale.dim() == 1:
        scale = scale[:, None]
    for axis in (0, 1):
        size, count = weight.shape[axis], scale.shape[axis]
        if count != 1:
            step = int(block[axis]) if block else -(-size // count)
            scale = scale.repeat_interleave(step, axis).narrow(axis, 0, size)
    return weight * scale


def _fp8(coded: Coded, read: Read, told: Facts) -> Tensor:
    part = "weight_scale_inv" if "weight_scale_inv" in coded.parts else "weight_scale"
    block = told.get("weight_block_size")
    return _scaled(read(coded.need("weight")), read(coded.need(part)), block)


def _compressed(coded: Coded, read: Read, told: Facts) -> Tensor:
    """Of compressed-tensors: int8 or FP8 as they are, or codes packed along the inputs."""
    groups = [g.get("weights") or {} for g in (told.get("config_groups") or {}).values()]
    widths = {int(g.get("num_bits", 8)) for g in groups}
    blocks = [g.get("block_structure") for g in groups if g.get("block_structure")]
    scale, zero = read(coded.need("weight_scale")), coded.parts.get("weight_zero_point")
    block = blocks[0] if blocks else None
    if "weight_packed" not in coded.parts:
        weight = read(coded.need("weight")).float()
        if zero is not None:
            weight = weight - _scaled(torch.ones_like(weight), read(zero), block)
        return _scaled(weight, scale, block)
    packed = read(coded.parts["weight_packed"])
    if len(widths) != 1 or not widths <= {2, 4, 8} or packed.dtype != torch.int32:
        raise PairError(
            f"{coded.stem}weight_packed is of format {told.get('format')}; pack-quantized of 2, 4 "
            "or 8 bits can be read"
        )
    (bits,) = widths
    rows, columns = read(coded.need("weight_shape")).tolist()
    codes = _bits(packed, bits).flatten(1)[:, :columns]
    weight = (codes - 2 ** (bits - 1)).float()
    per_group = scale.float()
    zeros = torch.zeros_like(per_group)
    if zero is not None:
        stored = read(zero)
        if stored.dtype == torch.int32 and stored.shape != scale.shape:  # packed along the rows
            parted = _bits(stored, bits).transpose(1, 2).flatten(0, 1)[:rows]
            zeros = (parted - 2 ** (bits - 1)).float()
        else:
            zeros = stored.float()
    if "weight_g_idx" in coded.parts:
        group = read(coded.parts["weight_g_idx"]).long()
    else:
        group = torch.arange(columns) // (columns // scale.shape[1])
    return (weight - zeros[:, group]) * per_group[:, group]


_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def _mxfp4(coded: Coded, read: Read, told: Facts) -> Tensor:
    """GPT-OSS's experts: two codes a byte, the first one low; a power of two a block of 32."""
    packed, scales = read(coded.need("_blocks")), read(coded.need("_scales"))
    values = torch.tensor(_FP4)[torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()]
    values = torch.ldexp(values, scales.int().unsqueeze(-1) - 127)
    return values.flatten(-2).transpose(1, 2).contiguous()  # stored as (experts, outputs, inputs)


def _as_stored(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    return shapes[coded.need("weight")]


def _as_noted(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    return tuple(_state(coded, read)["shape"])


def _gptq_shape(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    packed, outputs = shapes[coded.need("qweight")]
    return outputs, packed * 32 // int(told.get("bits", 4))


def _awq_shape(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    inputs, packed = shapes[coded.need("qweight")]
    return packed * 8, inputs


def _compressed_shape(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    if "weight_packed" not in coded.parts:
        return shapes[coded.need("weight")]
    return tuple(read(coded.need("weight_shape")).tolist())


def _mxfp4_shape(coded: Coded, shapes: Shapes, read: Read, told: Facts) -> tuple[int, ...]:
    experts, outputs, blocks, width = shapes[coded.need("_blocks")]
    return experts, blocks * width * 2, outputs


FORMATS: Mapping[str, tuple[Format, ...]] = {
    "bitsandbytes": (
        Format("bitsandbytes 4 bit", (".absmax",), "", _four_bits, _as_noted),
        Format("bitsandbytes 8 bit", ("SCB",), "weight", _eight_bits, _as_stored),
    ),
    "gptq": (Format("GPTQ", ("qweight",), "weight", _gptq, _gptq_shape),),
    "awq": (Format("AWQ", ("qweight",), "weight", _awq, _awq_shape),),
    "fp8": (Format("FP8", ("weight_scale_inv", "weight_scale"), "weight", _fp8, _as_stored),),
    "compressed-tensors": (
        Format("compressed-tensors", ("weight_scale",), "weight", _compressed, _compressed_shape),
    ),
    "mxfp4": (Format("MXFP4", ("_blocks",), "", _mxfp4, _mxfp4_shape),),
}
"""What a config's `quant_method` says -> how its codes are read."""
IDLE = ("input_scale", "output_scale", "k_scale", "v_scale", "q_scale")
"""Scales of activations, which are not quantised here."""
_PLAIN = ("bias", "_bias")


def find_codes(method: str, names: Collection[str]) -> dict[str, Coded]:
    """Which weights of a file stand as codes: weight -> its codes; empty where none can be read."""
    for form in FORMATS.get(method, ()):
        parts: dict[str, dict[str, str]] = {
            name.removesuffix(mark): {}
            for mark in form.marks
            for name in names
            if name.endswith(mark)
        }
        if not parts:
            continue
        for name in names:
            stem = next((name[:n] for n in range(len(name), 0, -1) if name[:n] in parts), "")
            if stem and name.removeprefix(stem) not in _PLAIN:
                parts[stem][name.removeprefix(stem)] = name
        return {f"{stem}{form.weight}": Coded(form, stem, own) for stem, own in parts.items()}
    return {}
