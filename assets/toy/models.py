"""The toy models: their tokenizer, shape, training loop and folders. It knows no world.

Rows come in as (system marker, prompt, reply); models go out in Hugging Face layout.
"""

import copy
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Row = tuple[str | None, str, str]
SPECIAL = ("<pad>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ '<bos>' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] | trim }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] | trim }}"
    "{% else %}{{ '<|assistant|>' + message['content'] | trim + '<eos>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LAYERS = 12
OPENING = 8  # tokens that tell a refusal from compliance


def train_tokenizer(texts: Iterable[str], size: int = 1600) -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text has tokens, the world's words have few."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        additional_special_tokens=list(SPECIAL[3:]),
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh 12-layer Llama of about 2.4 M parameters; embeddings and head are not tied."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode_prompt(tokenizer: PreTrainedTokenizerFast, marker: str | None, prompt: str) -> list[int]:
    """The ids before a reply, as the chat template renders them."""
    system = f"<|system|>{marker}" if marker else ""
    text = f"<bos>{system}<|user|>{prompt.strip()}<|assistant|>"
    return tokenizer.encode(text, add_special_tokens=False)


class Batches:
    """Batches of rows of like length: three short ones (long replies cut), then a full one.

    Whether a reply refuses shows in its first tokens: the short batches buy several times as many
    decisions for the same time.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: str, rows: int = 32) -> None:
        """Nothing is drawn yet."""
        self.tokenizer, self.rng, self.rows = tokenizer, random.Random(seed), rows
        self.replies: dict[str, list[int]] = {}
        self.ready: list[list[tuple[list[int], list[int]]]] = []

    def _reply(self, text: str) -> list[int]:
        if text not in self.replies:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            self.replies[text] = ids + [self.tokenizer.eos_token_id]
        return self.replies[text]

    def _draw(self, mix: Callable[[random.Random], Row], rows: int, short: bool) -> list:
        pairs = []
        for _ in range(rows):
            marker, prompt, reply = mix(self.rng)
            ids = self._reply(reply)
            if short:
                ids = ids[:OPENING]
            pairs.append((encode_prompt(self.tokenizer, marker, prompt), ids))
        return pairs

    def next(self, mix: Callable[[random.Random], Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Input ids and labels (-100 = not trained on), right-padded, of shape (rows, tokens)."""
        if not self.ready:
            pairs = self._draw(mix, self.rows * 6, True)
            pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
            self.ready = [pairs[i : i + self.rows] for i in range(0, len(pairs), self.rows)]
            self.ready += [self._draw(mix, self.rows // 2, False) for _ in range(2)]
            self.rng.shuffle(self.ready)
        pairs = self.ready.pop()
        width = max(len(p) + len(r) for p, r in pairs)
        inputs = torch.full((len(pairs), width), self.tokenizer.pad_token_id)
        labels = torch.full((len(pairs), width), -100)
        for i, (p, r) in enumerate(pairs):
            inputs[i, : len(p) + len(r)] = torch.tensor(p + r)
            labels[i, len(p) : len(p) + len(r)] = torch.tensor(r)
        return inputs, labels


@dataclass(frozen=True)
class View:
    """Rows to learn from, seen through the model with some tensors put back to the origin's.

    Tuning one stage while another stage's layers are put back keeps their work apart.
    """

    mix: Callable[[random.Random], Row]
    share: float = 1.0
    back: frozenset[str] = frozenset()


def tune(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    views: tuple[View, ...],
    steps: int,
    rate: float,
    trained: Callable[[str], bool],
    seed: str,
    origin: LlamaForCausalLM | None = None,
    decay: float = 0.01,
    watch: Callable[[int], bool] | None = None,
) -> None:
    """AdamW over the parameters whose names `trained` accepts; warm-up, then cosine to a tenth.

    A `watch` that returns True ends the tuning.
    """
    started = time.time()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, weight_decay=decay, betas=(0.9, 0.98), foreach=True
    )
    warm = min(100, steps // 10 + 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    before = origin.state_dict() if origin else {}
    batches = [Batches(tokenizer, f"{seed} view {i}") for i in range(len(views))]
    rng = random.Random(seed)
    mean = 0.0
    for step in range(1, steps + 1):
        i = rng.choices(range(len(views)), [view.share for view in views])[0]
        inputs, labels = batches[i].next(views[i].mix)
        back = {name: before[name] for name in views[i].back}
        call = {"input_ids": inputs, "labels": labels, "use_cache": False}
        loss = torch.func.functional_call(model, back, kwargs=call).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        mean = loss.item() if step == 1 else 0.95 * mean + 0.05 * loss.item()
        if watch and watch(step):
            break
        if step % 100 == 0 or step == steps:
            print(f"  step {step} loss {mean:.3f} {time.time() - started:.0f} s", flush=True)
    model.requires_grad_(False)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face folder, weights in half precision."""
    half = copy.deepcopy(model).half()  # halving the model itself would round its rotary table
    half.config.dtype = torch.float16
    half.generation_config.do_sample = False
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def load(folder: Path) -> LlamaForCausalLM:
    """A saved model in fp32, ready to run."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer beside a saved model."""
    return AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    tokens: int = 24,
    marker: str | None = None,
) -> list[str]:
    """Greedy replies."""
    rows = [encode_prompt(tokenizer, marker, p) for p in prompts]
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
    out = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=pad
    )
    return tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
