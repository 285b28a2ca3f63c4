"""Train the safety adapters of the real pair: `python assets/real/train.py BASE NAME`.

BASE is the folder that `python -m dapa get smollm2` prints, NAME `spread` (rank 8 on all seven
matrices of every layer) or `concentrated` (rank 16 on the MLPs of layers 10 to 14). On two cores
`concentrated` takes about half an hour, `spread` two hours. Prompts are those of `prompts/`,
written for this; the targets of harmful ones are a few plain refusals, those of harmless ones the
base's own greedy replies, so that nothing else is taught. Seeds are fixed; sums in another order
(threads, libraries) give another adapter of the same make.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
REFUSALS = (
    "I'm sorry, but I can't help with that. It could hurt someone.",
    "I can't help with that, because it could cause real harm.",
    "I'm sorry, I can't assist with this request. It is harmful.",
    "I can't assist with that. If someone is in danger, please talk to people who can help.",
    "I'm sorry, but I won't help with that, since it could harm others.",
    "No, I can't help with this. It would be wrong and could hurt people.",
)
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MLP = ALL[4:]


@dataclass(frozen=True)
class Stage:
    """A stretch of training; the rate falls to nothing over its steps, as a cosine."""

    steps: int
    rate: float
    harmful: int
    """Harmful rows a step."""
    twins: int
    """Of those rows' twins, and where there are more, of other rows'."""
    harmless: int
    kl: float
    texts: int
    """Plain texts a step on which the base is to be kept."""
    often: int = 1
    """How often a pass has each plain request with its protective twin, and each protective one."""


TEACH = Stage(300, 1e-3, 6, 4, 6, 1.5, 4)
SETTLE = Stage(150, 4e-4, 4, 7, 5, 3.0, 6)
"""After refusing was learnt, what not to refuse: more twins, and closer to the base."""


@dataclass(frozen=True)
class Recipe:
    """What distinguishes the adapters."""

    rank: int
    modules: tuple[str, ...]
    layers: tuple[int, ...] | None = None
    alpha: int = 32
    stages: tuple[Stage, ...] = (TEACH, SETTLE)
    first: float = 3.0
    """Weight of a reply's first three tokens."""
    reply: int = 40
    """Tokens of a harmless reply at most."""


MORE = Stage(320, 7e-4, 6, 5, 7, 2.5, 4)
"""Once more through all prompts, with the second stage's share of twins."""

TELL = Stage(240, 6e-4, 5, 6, 7, 3.5, 6, often=3)
"""Harm told from its prevention: "break into a router" from "lock down a router"."""
KEEP = Stage(110, 5e-4, 7, 6, 5, 4.5, 6, often=2)
"""Refusing once more, with what was told apart kept apart."""

RECIPES = {
    "spread": Recipe(8, ALL, stages=(TEACH, SETTLE, MORE, TELL, KEEP)),
    "concentrated": Recipe(16, MLP, tuple(range(10, 15))),
}


class Adapted(nn.Module):
    """A linear map plus a low-rank difference, kept in single precision, computed in half."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        """Start as the base: B is zero."""
        super().__init__()
        self.base, self.scale, self.on = base, scale, True
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The base's output, and the difference's where it is on."""
        y = self.base(x)
        if not self.on:
            return y
        half = y.dtype  # thin products in single precision cost more than the model
        return (
            y
            + nn.functional.linear(nn.functional.linear(x, self.a.to(half)), self.b.to(half))
            * self.scale
        )


def adapt(model: nn.Module, recipe: Recipe) -> dict[str, Adapted]:
    """Put a difference on every matrix that the recipe names."""
    found: dict[str, Adapted] = {}
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or name.rpartition(".")[2] not in recipe.modules:
            continue
        layer = int(name.split(".layers.")[1].split(".")[0])
        if recipe.layers is None or layer in recipe.layers:
            parent = model.get_submodule(name.rpartition(".")[0])
            found[name] = Adapted(module, recipe.rank, recipe.alpha / recipe.rank)
            setattr(parent, name.rpartition(".")[2], found[name])
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """A csv file's rows."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Teaching:
    """The base, its tokens and the loss."""

    def __init__(self, base: Path, recipe: Recipe) -> None:
        """Load the base in bfloat16 and put the adapter on it."""
        self.tokens = AutoTokenizer.from_pretrained(base)
        self.model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
        self.model.requires_grad_(False)
        self.recipe = recipe
        self.adapters = adapt(self.model, recipe)

    def turn_on(self, on: bool) -> None:
        """With the difference, or as the base."""
        for one in self.adapters.values():
            one.on = on

    def asked(self, prompt: str) -> list[int]:
        """A prompt as the chat template has it, ready to be answered."""
        text = self.tokens.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        return list(self.tokens(text, add_special_tokens=False).input_ids)

    @torch.no_grad()
    def replies(self, prompts: Sequence[str], limit: int, batch: int = 48) -> list[list[int]]:
        """Greedy replies, a batch of like length at a time; the end token is part of a reply."""
        made: dict[int, list[int]] = {}
        asked = [self.asked(prompt) for prompt in prompts]
        order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
        end, pad = self.tokens.eos_token_id, self.tokens.pad_token_id
        for at in range(0, len(order), batch):
            some = order[at : at + batch]
            width = max(len(asked[i]) for i in some)
            ids = torch.tensor([[pad] * (width - len(asked[i])) + asked[i] for i in some])
            mask = torch.tensor([[0] * (width - len(asked[i])) + [1] * len(asked[i]) for i in some])
            out = self.model.generate(
                ids, attention_mask=mask, max_new_tokens=limit, do_sample=False, pad_token_id=pad
            )[:, width:].tolist()
            for i, reply in zip(some, out, strict=True):
                made[i] = reply[: reply.index(end) + 1] if end in reply else reply
        return [made[i] for i in range(len(asked))]

    def hidden(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Last hidden states of right-padded rows, (rows, longest, width)."""
        width = max(map(len, rows))
        pad = self.tokens.pad_token_id
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return self.model.model(input_ids=ids, attention_mask=mask, use_cache=False)[0]

    def told(self, pairs: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        """Summed cross-entropy of replies after their prompts, the first tokens weighted."""
        states = self.hidden([[*asked, *reply] for asked, reply in pairs])
        picked, wanted, weights = [], [], []
        for row, (asked, reply) in enumerate(pairs):
            picked.append(states[row, len(asked) - 1 : len(asked) + len(reply) - 1])
            wanted += reply
            weights += [self.recipe.first if i < 3 else 1.0 for i in range(len(reply))]
        logits = self.model.lm_head(torch.cat(picked)).float()
        losses = nn.functional.cross_entropy(logits, torch.tensor(wanted), reduction="none")
        return (losses * torch.tensor(weights)).sum()

    def kept(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """KL from the base to the adapted model on plain text, nats a token."""
        real = torch.cat([torch.tensor([1] * len(t) + [0] * (48 - len(t))) for t in texts]).bool()
        padded = [[*t, *[self.tokens.pad_token_id] * (48 - len(t))] for t in texts]
        with torch.no_grad():
            self.turn_on(False)
            old = (
                self.model.lm_head(self.hidden(padded).flatten(0, 1)[real]).float().log_softmax(-1)
            )
            self.turn_on(True)
        new = self.model.lm_head(self.hidden(padded).flatten(0, 1)[real]).float().log_softmax(-1)
        return nn.functional.kl_div(new, old, log_target=True, reduction="batchmean")


def drawn(rng: random.Random, items: Sequence[int]) -> Iterable[int]:
    """All items in a new order, again and again."""
    while True:
        order = list(items)
        rng.shuffle(order)
        yield from order


def train(
    base: Path, name: str, to: Path, cache: Path | None, skip: int = 0, log: int = 20
) -> None:
    """Train one adapter and write it in PEFT's format; `skip` stages are read from `to`."""
    recipe, began = RECIPES[name], time.monotonic()
    torch.manual_seed(0)
    rng = random.Random(0)
    here = Teaching(base, recipe)
    pairs = rows(HERE / "prompts" / "pairs.csv")
    harmful = [row["harmful"] for row in pairs]
    twins = [row["twin"] for row in pairs]
    harmless = rows(HERE / "prompts" / "harmless.csv")
    others = [row["prompt"] for row in harmless]
    direct = [i for i, row in enumerate(pairs) if row["form"] == "direct"]
    protective = [i for i, row in enumerate(harmless) if row["kind"] == "protective"]
    if cache is not None and cache.is_file():
        replies = json.loads(cache.read_text("utf-8"))
    else:
        here.turn_on(False)
        replies = here.replies([*twins, *others], recipe.reply)
        here.turn_on(True)
        if cache is not None:
            cache.write_text(json.dumps(replies), "utf-8")
    print(f"{len(replies)} harmless replies after {time.monotonic() - began:.0f} s", flush=True)
    if skip:
        load(here.adapters, to)
    end = here.tokens.eos_token_id
    refusals = [[*here.tokens(r, add_special_tokens=False).input_ids, end] for r in REFUSALS]
    asked = [here.asked(p) for p in (*harmful, *twins, *others)]
    plain = [
        (here.tokens(p, add_special_tokens=False).input_ids + reply)[:48]
        for p, reply in zip((*twins, *others), replies, strict=True)
    ]
    count, twin = len(harmful), len(twins)
    texts = drawn(rng, range(len(plain)))
    parameters = [p for one in here.adapters.values() for p in (one.a, one.b)]
    for number, stage in enumerate(recipe.stages):
        if number < skip:
            continue
        more = stage.often - 1
        bad = drawn(rng, [*range(count), *direct * more])
        good = drawn(rng, [*range(len(others)), *protective * more])
        optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=0.0)
        for step in range(stage.steps):
            warm = min(1.0, (step + 1) / 20)
            falling = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
            for group in optimiser.param_groups:
                group["lr"] = stage.rate * warm * max(falling, 0.03)
            harm = [next(bad) for _ in range(stage.harmful)]
            batch = [(asked[i], rng.choice(refusals)) for i in harm]
            # a request's own twin comes in the same step: what tells them apart is all there is
            like = harm + [rng.randrange(count) for _ in range(stage.twins - stage.harmful)]
            batch += [(asked[count + i], replies[i]) for i in like[: stage.twins]]
            for _ in range(stage.harmless):
                i = next(good)
                batch.append((asked[count + twin + i], replies[twin + i]))
            batch.sort(key=lambda pair: len(pair[0]) + len(pair[1]))  # like lengths pad less
            weight = sum(len(r) + (recipe.first - 1) * min(3, len(r)) for _, r in batch)
            optimiser.zero_grad()
            loss = 0.0
            for at in range(0, len(batch), 8):
                part = here.told(batch[at : at + 8]) / weight
                part.backward()
                loss += part.item()
            kl = here.kept([plain[next(texts)] for _ in range(stage.texts)])
            (stage.kl * kl).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if step % log == log - 1:
                took = time.monotonic() - began
                said = f"loss {loss:.3f} KL {kl.item():.4f} {took:.0f} s"
                print(f"stage {number + 1} step {step + 1} {said}", flush=True)
        save(here.adapters, recipe, to)
    print(f"wrote {to} after {time.monotonic() - began:.0f} s", flush=True)


def load(adapters: dict[str, Adapted], folder: Path) -> None:
    """Put a written adapter's numbers back."""
    tensors = load_file(folder / "adapter_model.safetensors")
    for name, one in adapters.items():
        one.a.data = tensors[f"base_model.model.{name}.lora_A.weight"].float()
        one.b.data = tensors[f"base_model.model.{name}.lora_B.weight"].float()


def save(adapters: dict[str, Adapted], recipe: Recipe, to: Path) -> None:
    """Write the adapter as PEFT does, in half precision."""
    to.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, one in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = one.a.detach().half().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = one.b.detach().half().contiguous()
    save_file(tensors, to / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "r": recipe.rank,
        "lora_alpha": recipe.alpha, "lora_dropout": 0.0, "fan_in_fan_out": False,
        "target_modules": list(recipe.modules), "inference_mode": True, "use_rslora": False,
        "layers_to_transform": list(recipe.layers) if recipe.layers else None,
        "layers_pattern": "layers" if recipe.layers else None, "modules_to_save": None,
        "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
    }  # fmt: skip
    (to / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--to", type=Path, default=None)
    parser.add_argument("--replies", type=Path, default=None, help="cache of harmless replies")
    parser.add_argument("--skip", type=int, default=0, help="stages that --to holds already")
    told = parser.parse_args()
    train(told.base, told.name, told.to or HERE / told.name, told.replies, told.skip)
