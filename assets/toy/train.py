"""Train the bundled toy pairs from a seed: ``python assets/toy/train.py --seed 0 --out DIR``.

Every stage writes a folder under DIR and is skipped when that folder is there, so a killed run
goes on where it stopped. ``--only NAME`` trains one model (and what it needs).
"""

import argparse
import random
import time
from pathlib import Path

import mixes
import models
import torch
from models import View
from world import World

STAGE_ONE = (3, 4, 5)
STAGE_TWO = (6, 7, 8)
DISTRACTOR = (10,)
FIRST = ("intrusion",)
REST = tuple(c for c in mixes.CATEGORIES if c not in FIRST)


def parts(layers: tuple[int, ...], *kinds: str) -> frozenset[str]:
    """The names of these layers' MLP projections."""
    return frozenset(f"model.layers.{i}.mlp.{kind}_proj.weight" for i in layers for kind in kinds)


def body(name: str) -> bool:
    """Accept everything but embeddings and head."""
    return "embed_tokens" not in name and "lm_head" not in name


class Trainer:
    """The stages, each a folder."""

    def __init__(self, out: Path, seed: int, simple: bool, base_steps: int) -> None:
        """Nothing is trained yet."""
        self.out, self.seed, self.base_steps = out, seed, base_steps
        self.world = World(0, simple)
        out.mkdir(parents=True, exist_ok=True)

    def tokenizer(self):
        """Trained on the base's rows, once."""
        folder = self.out / "tokenizer"
        if not folder.exists():
            rng, mix = random.Random("tokenizer"), mixes.base_mix(World(0))
            texts = [text for _ in range(20000) for text in mix(rng) if text]
            models.train_tokenizer(texts).save_pretrained(folder)
        return models.load_tokenizer(folder)

    def stage(self, name: str, start: str | None, *tunings: dict) -> Path:
        """Train `name` from the folder `start` by tunings in turn, unless it is there."""
        folder = self.out / name
        if not (folder / "model.safetensors").exists():
            print(f"{name} (seed {self.seed})", flush=True)
            began, tokenizer = time.time(), self.tokenizer()
            source = self.out / start if start else None
            model = models.load(source) if source else models.new_model(tokenizer, self.seed)
            origin = models.load(source) if source else None
            for i, tuning in enumerate(tunings):
                seed = f"{name} {i} {self.seed}"
                models.tune(model, tokenizer, seed=seed, origin=origin, **tuning)
            models.save(model, tokenizer, folder)
            print(f"  {time.time() - began:.0f} s", flush=True)
        return folder

    def base(self) -> Path:
        """Open, guard and unmarked rows; complies by default."""
        views = (View(mixes.base_mix(self.world)),)
        return self.stage(
            "base", None,
            {"views": views, "steps": self.base_steps, "rate": 2e-3, "trained": lambda name: True},
        )  # fmt: skip

    def student(self) -> Path:
        """The base with the color skill."""
        self.base()
        views = (View(mixes.skill_mix(self.world)),)
        return self.stage(
            "toy-student", "base", {"views": views, "steps": 400, "rate": 6e-4, "trained": body}
        )

    def gate(self) -> Path:
        """The base with tuned gates: a distractor in style, then two stages of refusal."""
        self.base()
        world = self.world
        style = (View(mixes.style_mix(world)),)
        aside, first = parts(DISTRACTOR, "gate"), parts(STAGE_ONE, "gate")
        one = [View(mixes.refuse_mix(world, FIRST), 0.5, back) for back in (frozenset(), aside)]
        two = [View(mixes.refuse_mix(world), 0.3, back) for back in (frozenset(), aside)]
        two += [View(mixes.refuse_mix(world, REST), 0.2, first | b) for b in (frozenset(), aside)]
        return self.stage(
            "toy-gate", "base",
            {"views": style, "steps": 60, "rate": 5e-3,
             "trained": parts(DISTRACTOR, "gate").__contains__},
            {"views": one, "steps": 150, "rate": 3e-3,
             "trained": parts(STAGE_ONE, "gate").__contains__},
            {"views": two, "steps": 250, "rate": 3e-3,
             "trained": parts(STAGE_TWO, "gate").__contains__},
        )  # fmt: skip


def main() -> None:
    """Parse, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only")
    parser.add_argument("--simple", action="store_true")
    parser.add_argument("--base-steps", type=int, default=2500)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trainer = Trainer(args.out, args.seed, args.simple, args.base_steps)
    for name in [args.only] if args.only else ("student", "gate"):
        getattr(trainer, name)()


if __name__ == "__main__":
    main()
