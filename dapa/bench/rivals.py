"""The usual ways to do the same work, written plainly here, so that no rival's code is copied.

Each works on plain models that no pair has wrapped. They use transformers as its documentation
does, at the batch size that ours gets, and give their outputs, so that both can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, TextIteratorStreamer
from transformers.utils import logging

from dapa.bench.timing import now
from dapa.model.families import Family, submodule


def padded(ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention, padded on the left: two (rows, length)."""
    length = max(map(len, ids))
    tokens = torch.zeros(len(ids), length, dtype=torch.long)
    attention = torch.zeros_like(tokens)
    for row, text in enumerate(ids):
        tokens[row, length - len(text) :] = torch.tensor(text)
        attention[row, length - len(text) :] = 1
    return tokens.to(device), attention.to(device)


def hidden_state_map(
    student: Any, teacher: Any, ids: Sequence[Sequence[int]], batch: int
) -> Tensor:  # (prompts, layers), float32, on the host
    """Cosine distance of the last token's states behind every layer, prompt by prompt.

    Both models run whole with `output_hidden_states=True`; the last of those is already normed, so
    the state behind the last layer is taken by a hook, as ours is.
    """
    rows = []
    last: dict[int, Tensor] = {}
    hooks = [
        model.get_decoder()
        .layers[-1]
        .register_forward_hook(
            lambda module, args, out, side=side: last.update(
                {side: out[0] if isinstance(out, tuple) else out}
            )
        )
        for side, model in enumerate((student, teacher))
    ]
    try:
        with torch.inference_mode():
            for start in range(0, len(ids), batch):
                tokens, attention = padded(
                    ids[start : start + batch], student.get_input_embeddings().weight.device
                )
                states = []
                for side, model in enumerate((student, teacher)):
                    out = model(
                        input_ids=tokens,
                        attention_mask=attention,
                        output_hidden_states=True,
                        use_cache=False,
                    )
                    states.append([*out.hidden_states[1:-1], last[side]])
                apart = [
                    1 - torch.cosine_similarity(a[:, -1].float(), b[:, -1].float(), dim=-1)
                    for a, b in zip(*states, strict=True)
                ]
                rows.append(torch.stack(apart, dim=1).cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(rows)


class Copied:
    """A student whose sites are really overwritten; it keeps its own beside, to put them back."""

    def __init__(self, student: Any, teacher: Any, family: Family, kind: str = "gate") -> None:
        """Args: two plain models, the student written to from here on; a kind of unit."""
        self.model = student
        self.ours = self._weights(student, family, kind)
        self.theirs = self._weights(teacher, family, kind)
        self.kept = [[weight.detach().clone() for weight in layer] for layer in self.ours]

    @staticmethod
    def _weights(model: Any, family: Family, kind: str) -> list[list[Tensor]]:
        """The weights of each layer's unit."""
        paths = [family.site_path(part) for part in family.parts(kind)]
        layers = submodule(model, family.layers)
        return [[submodule(layer, path).weight for path in paths] for layer in layers]

    def transplant(self, layers: set[int] | frozenset[int]) -> None:
        """Write every site: the teacher's in `layers`, the student's own elsewhere."""
        for layer in range(len(self.ours)):
            self.toggle(layer, layer in layers)

    def toggle(self, layer: int, on: bool) -> None:
        """Write one layer's."""
        source = self.theirs[layer] if on else self.kept[layer]
        with torch.no_grad():
            for ours, new in zip(self.ours[layer], source, strict=True):
                ours.copy_(new)


def generated(
    model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], limit: int, batch: int
) -> list[list[int]]:
    """New tokens of `model.generate`, greedy, a batch at a time; each up to its end token."""
    device = model.get_input_embeddings().weight.device
    out = []
    for start in range(0, len(ids), batch):
        tokens, attention = padded(ids[start : start + batch], device)
        made = model.generate(
            input_ids=tokens,
            attention_mask=attention,
            do_sample=False,
            max_new_tokens=limit,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        for row in made[:, tokens.shape[1] :].tolist():
            end = tokenizer.eos_token_id
            out.append(row[: row.index(end) + 1] if end in row else row)
    return out


def save_and_load(student: Any, copied: Copied, layer: int, folder: Path) -> Any:
    """Copy one gate, write the whole model, read it again: ready for the next forward."""
    logging.disable_progress_bar()
    copied.toggle(layer, True)
    student.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=student.dtype)
    return loaded.to(student.device).eval()


def one_after_another(
    models: Mapping[str, Any], tokenizer: Any, ids: Sequence[int], limit: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Each model streams its reply in turn; when each one's first text shows, and its whole text.

    Returns:
        Seconds since the question, and the replies, by name.
    """
    first: dict[str, float] = {}
    texts: dict[str, str] = {}
    device = next(iter(models.values())).get_input_embeddings().weight.device
    start = now(device)
    for name, model in models.items():
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        tokens, attention = padded([ids], device)
        settings: dict[str, Any] = dict(
            input_ids=tokens,
            attention_mask=attention,
            do_sample=False,
            max_new_tokens=limit,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            streamer=streamer,
        )
        thread = Thread(target=model.generate, kwargs=settings)
        thread.start()
        texts[name] = ""
        for piece in streamer:
            if piece.strip() and name not in first:
                first[name] = now(device) - start
            texts[name] += piece
        thread.join()
    return first, texts


def weight_bytes(*models: nn.Module) -> int:
    """Bytes of all distinct storages that hold these models' weights."""
    seen = {}
    for model in models:
        for weight in (*model.parameters(), *model.buffers()):
            storage = weight.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())
