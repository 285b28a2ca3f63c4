"""LoRA adapter folders to try and to spoil, on small random bases; peft writes the true ones."""

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from support import TOKENIZER, random_model
from transformers import AutoConfig, AutoModelForImageTextToText

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def save_base(folder: Path, model_type: str = "llama", seed: int = 0, **extra) -> Path:
    """A random base as a model folder."""
    model = random_model(model_type, seed, **extra)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def save_wrapped(folder: Path, wrapper: str) -> Path:
    """A random multimodal model as a folder."""
    text = dict(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        pad_token_id=TOKENIZER.pad_token_id, eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    vision = dict(num_attention_heads=2, num_hidden_layers=1, intermediate_size=16, patch_size=14)
    if wrapper == "gemma3":
        vision |= {"model_type": "siglip_vision_model", "hidden_size": 16, "image_size": 28}
    else:
        vision |= {"depth": 1, "hidden_size": 16, "num_heads": 2, "out_hidden_size": 32}
        text["rope_parameters"] = {"rope_type": "default", "mrope_section": [1, 1, 2]}
    config = AutoConfig.for_model(
        wrapper, text_config=text, vision_config=vision, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def by_peft(base: Path, folder: Path, seed: int = 1, **settings):
    """An adapter that peft made and saved, both halves random; returns peft's merged model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"r": 2, "lora_alpha": 3, "target_modules": list(ALL), **settings}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fan_in_fan_out, tied embeddings
        made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, weight in made.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_pretrained(folder)
        return made.merge_and_unload().eval()


def by_hand(
    base: Path,
    folder: Path,
    modules=ALL,
    layers=None,
    rank=2,
    seed=1,
    std=0.2,
    told=None,
    tensors=None,
):
    """An adapter of the plainest kind, written without peft; `told` changes its config."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    content = {}
    for name, weight in load_file(base / "model.safetensors").items():
        parts = name.split(".")
        if parts[-1] != "weight" or parts[-2] not in modules:
            continue
        if layers is not None and int(parts[2]) not in layers:
            continue
        out, into = (
            reversed(weight.shape) if parts[-2].startswith("c_") else weight.shape
        )  # GPT-2's
        for side, shape in (("A", (rank, into)), ("B", (out, rank))):
            values = torch.randn(shape, generator=generator) * std
            content[f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight"] = values
    if tensors:
        tensors(content)
    save_file(content, folder / "adapter_model.safetensors", {"format": "pt"})
    usual = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(modules),
        "layers_to_transform": layers,
        "bias": "none",
    }
    config = {**usual, **(told or {})}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
