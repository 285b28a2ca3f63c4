"""Greedy answers of a local causal language model, for harm judges that are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dapa.core.records import SettingError
from dapa.judges.classifier import checkpoint_folder

BATCH = 8


def load_causal(
    checkpoint: str, device: str = "cpu", max_new_tokens: int = 24
) -> Callable[[Sequence[str]], list[str]]:
    """Load a model and return what answers texts; safetensors only, no remote code.

    The texts are whole: no template is laid over them, and special tokens in them are read as such.

    Raises:
        SettingError: It is neither a folder nor a hub id, or cannot be loaded.
    """
    folder = checkpoint_folder(checkpoint)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, padding_side="left"
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if device != "cpu" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # each architecture and file fault raises a kind of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SettingError(
            f"{checkpoint} is no language model that can be loaded ({reason}); give one with "
            "config.json, tokenizer and safetensors weights"
        ) from error
    model.to(device).eval().requires_grad_(False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def answer(texts: Sequence[str]) -> list[str]:
        said: list[str] = []
        for start in range(0, len(texts), BATCH):
            read = tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                add_special_tokens=False,
                return_tensors="pt",
                return_token_type_ids=False,
            ).to(device)
            with torch.inference_mode():
                out = model.generate(
                    **read,
                    do_sample=False,
                    max_new_tokens=max_new_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                )
            fresh = out[:, read["input_ids"].shape[1] :]
            said += tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return said

    return answer
