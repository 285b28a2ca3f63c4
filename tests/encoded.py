"""Quantisers for tests, a format each: what they write, and the numbers that it stands for."""

import json

import torch

_TABLE = torch.tensor([(i - 7.5) / 7.5 for i in range(16)])


def _grid(weight, group, bits):
    """Codes 0 .. 2^bits - 1, scales and zeros a group of inputs, and their numbers: (out, in)."""
    parts = weight.unflatten(1, (-1, group))
    low, high = parts.amin(-1), parts.amax(-1)
    scale = ((high - low) / (2**bits - 1)).clamp_min(1e-6).half().float()
    zero = (-low / scale).round().clamp(0, 2**bits - 1)
    codes = (parts / scale[..., None] + zero[..., None]).round().clamp(0, 2**bits - 1)
    numbers = (codes - zero[..., None]) * scale[..., None]
    return codes.flatten(1).int(), scale, zero.int(), numbers.flatten(1)


def _pack(codes, bits):
    """Along the last dimension, lowest first, into int32."""
    parts = codes.long().unflatten(-1, (-1, 32 // bits))
    shifts = torch.arange(0, 32, bits)
    whole = (parts << shifts).sum(-1)
    return torch.where(whole >= 2**31, whole - 2**32, whole).int().contiguous()


def gptq(stem, weight, bits=4, group=8):
    codes, scale, zero, numbers = _grid(weight, group, bits)
    stored = (zero - 1) % 2**bits
    return {
        f"{stem}.qweight": _pack(codes, bits).T.contiguous(),
        f"{stem}.qzeros": _pack(stored.T, bits),
        f"{stem}.scales": scale.T.half().contiguous(),
        f"{stem}.g_idx": (torch.arange(weight.shape[1]) // group).int(),
    }, numbers


def awq(stem, weight, group=8):
    codes, scale, zero, numbers = _grid(weight, group, 4)
    turns = [0, 2, 4, 6, 1, 3, 5, 7]
    packed, zeros = (
        _pack(x.T.unflatten(-1, (-1, 8))[..., turns].flatten(-2), 4) for x in (codes, zero)
    )
    return {
        f"{stem}.qweight": packed,
        f"{stem}.qzeros": zeros,
        f"{stem}.scales": scale.T.half().contiguous(),
    }, numbers


def four_bits(stem, weight, block=64):
    flat = weight.flatten()
    scales = torch.stack([part.abs().max() for part in flat.split(block)])
    spread = scales.repeat_interleave(block)[: flat.numel()]
    codes = (flat[:, None] / spread[:, None] - _TABLE).abs().argmin(1)
    even = codes.view(-1, 2)
    facts = {"quant_type": "nf4", "blocksize": block, "dtype": "float32", "shape": [*weight.shape]}
    state = torch.tensor([*json.dumps(facts).encode()], dtype=torch.uint8)
    return {
        f"{stem}.weight": (even[:, :1] * 16 + even[:, 1:]).to(torch.uint8),
        f"{stem}.weight.absmax": scales,
        f"{stem}.weight.quant_map": _TABLE.clone(),
        f"{stem}.weight.quant_state.bitsandbytes__nf4": state,
    }, (_TABLE[codes] * spread).view(weight.shape)


def eight_bits(stem, weight):
    scales = weight.abs().amax(1)
    codes = (weight / scales[:, None] * 127).round().to(torch.int8)
    return {
        f"{stem}.weight": codes,
        f"{stem}.SCB": scales,
        f"{stem}.weight_format": torch.tensor(0, dtype=torch.uint8),
    }, codes.float() * (scales / 127)[:, None]


def fp8(stem, weight, block=16):
    padded = [-(-size // block) for size in weight.shape]
    scales = torch.empty(padded)
    numbers, codes = torch.empty_like(weight), torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    for i in range(padded[0]):
        for j in range(padded[1]):
            part = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            scales[i, j] = weight[part].abs().max() / 448
            codes[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
            numbers[part] = codes[part].float() * scales[i, j]
    return {
        f"{stem}.weight": codes,
        f"{stem}.weight_scale_inv": scales,
        f"{stem}.input_scale": torch.ones(1),
    }, numbers


def packed(stem, weight, group=8):
    codes, scale, zero, numbers = _grid(weight, group, 4)
    return {
        f"{stem}.weight_packed": _pack(codes, 4),
        f"{stem}.weight_shape": torch.tensor(weight.shape),
        f"{stem}.weight_scale": scale,
        f"{stem}.weight_zero_point": _pack(zero.T, 4).T.contiguous(),
    }, numbers


_GROUP = {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 8}}
QUANTISERS = {
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 8, "desc_act": False}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 8, "version": "gemm"}),
    "bitsandbytes 4 bit": (four_bits, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "bitsandbytes 8 bit": (eight_bits, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "fp8": (fp8, {"quant_method": "fp8", "weight_block_size": [16, 16]}),
    "compressed-tensors": (
        packed,
        {"quant_method": "compressed-tensors", "format": "pack-quantized",
         "config_groups": {"group_0": _GROUP}},
    ),
}  # fmt: skip
"""Name -> what encodes a linear, and what its config says."""


def quantise(content, name):
    """Encode every linear of a llama's tensors, in place; returns the tensors in numbers."""
    encode, _ = QUANTISERS[name]
    numbers = dict(content)
    for key in [key for key in content if "_proj.weight" in key]:
        stem = key.removesuffix(".weight")
        made, numbers[key] = encode(stem, content.pop(key).float())
        content.update(made)
    return numbers
