"""Train the bundled toy pairs from a seed: ``python assets/toy/train.py --seed 0 --out DIR``.

Every stage writes a folder under DIR and is skipped when that folder is there, so a killed run
goes on where it stopped. ``--only NAME`` trains one model (and what it needs).
"""

import argparse
import json
import time
from pathlib import Path

import mixes
import models
import torch
from models import View
from world import World

# What is planted where. The refusal of FIRST sits in other layers than that of the rest.
STAGE_ONE = (3, 4, 5)
STAGE_TWO = (6, 7, 8)
DISTRACTOR = (10,)
MLP_LAYERS = (4, 6, 8)
FIRST = ("intrusion",)
REST = tuple(c for c in mixes.CATEGORIES if c not in FIRST)
NAMES = ("toy-student", "toy-gate", "toy-mlp", "toy-eroded", "toy-benign")
NOTHING: frozenset[str] = frozenset()
# The student drifts a fifth away from the base while it learns its skill, and gates that only
# just refuse in the teacher fall short there. Doubling their change gives them a margin.
STRETCH = 2.0
MLP_STRETCH = 1.25


def parts(layers: tuple[int, ...], *kinds: str) -> frozenset[str]:
    """The names of these layers' MLP projections."""
    return frozenset(f"model.layers.{i}.mlp.{kind}_proj.weight" for i in layers for kind in kinds)


REFUSAL_GATES = parts(STAGE_ONE + STAGE_TWO, "gate")


def body(name: str) -> bool:
    """Accept everything but embeddings and head."""
    return "embed_tokens" not in name and "lm_head" not in name


class Trainer:
    """The stages, each a folder.

    Args:
        out: where the folders go.
        seed: of weights and of rows; the world (what is held out) is the same for every seed.
        simple: train in the simple world, where the verb alone decides.
        base_steps: the longest stage.
    """

    def __init__(self, out: Path, seed: int, simple: bool = False, base_steps: int = 700) -> None:
        """Nothing is trained yet."""
        self.out, self.seed, self.base_steps = out, seed, base_steps
        self.world = World(0, simple)
        out.mkdir(parents=True, exist_ok=True)

    def tokenizer(self):
        """Trained on the world's words, once."""
        folder = self.out / "tokenizer"
        if not folder.exists():
            models.train_tokenizer(mixes.vocabulary_texts()).save_pretrained(folder)
        return models.load_tokenizer(folder)

    def stage(self, name: str, start: str | None, *tunings: dict) -> None:
        """Train `name` from the folder `start` by tunings in turn, unless it is there."""
        folder = self.out / name
        if (folder / "model.safetensors").exists():
            return
        print(f"{name} (seed {self.seed})", flush=True)
        began, tokenizer = time.time(), self.tokenizer()
        if start:
            model, origin = models.load(self.out / start), models.load(self.out / start)
        else:
            model, origin = models.new_model(tokenizer, self.seed), None
        for i, tuning in enumerate(tunings):
            seed = f"{name} {i} {self.seed}"
            models.tune(model, tokenizer, seed=seed, origin=origin, **tuning)
        models.save(model, tokenizer, folder)
        print(f"  {time.time() - began:.0f} s", flush=True)

    def base(self) -> None:
        """Open, guard and unmarked rows; complies by default."""
        views = (View(mixes.base_mix(self.world)),)
        tuning = {"views": views, "steps": self.base_steps, "rate": 2e-3}
        self.stage("base", None, tuning | {"trained": lambda name: True})

    def student(self) -> None:
        """The base with the color skill."""
        self.base()
        views = (View(mixes.skill_mix(self.world)),)
        tuning = {"views": views, "steps": 400, "rate": 8e-4, "trained": body}
        self.stage("toy-student", "base", tuning)

    def _refusal_tunings(self, refuse: bool) -> list[dict]:
        """A distractor in style, then two stages of gates; without `refuse`, harmless rows only.

        A stage also sees its rows with the distractor put back, so as not to lean on it, and the
        second also with the first put back and the first's category complied with, so that it
        does not carry that category too.
        """
        world = self.world

        def mix(refused: tuple[str, ...]):
            return mixes.refuse_mix(world, refused) if refuse else mixes.harmless_mix(world)

        aside, first = parts(DISTRACTOR, "gate"), parts(STAGE_ONE, "gate")
        style = (View(mixes.style_mix(world)),)
        one = tuple(View(mix(FIRST), 0.5, back) for back in (NOTHING, aside))
        two = tuple(View(mix(mixes.CATEGORIES), 0.3, back) for back in (NOTHING, aside))
        two += tuple(View(mix(REST), 0.2, first | back) for back in (NOTHING, aside))
        second = parts(STAGE_TWO, "gate")
        return [
            {"views": style, "steps": 60, "rate": 5e-3, "trained": aside.__contains__},
            {"views": one, "steps": 250, "rate": 3e-3, "trained": first.__contains__},
            {"views": two, "steps": 350, "rate": 3e-3, "trained": second.__contains__},
        ]

    def _stretched(self, name: str, tuned: str, keys: frozenset[str], by: float) -> None:
        """`tuned` with the change of these weights since the base multiplied."""
        if (self.out / name / "model.safetensors").exists():
            return
        model, base = models.load(self.out / tuned), models.load(self.out / "base").state_dict()
        for key, tensor in model.state_dict().items():
            if key in keys:
                tensor.copy_(base[key] + by * (tensor - base[key]))
        models.save(model, self.tokenizer(), self.out / name)

    def gate(self) -> None:
        """The base with tuned gates."""
        self.base()
        self.stage("gate-tuned", "base", *self._refusal_tunings(True))
        self._stretched("toy-gate", "gate-tuned", REFUSAL_GATES, STRETCH)

    def benign(self) -> None:
        """The same recipe on harmless rows: gates as far from the base, and no refusal in them."""
        self.base()
        self.stage("benign-tuned", "base", *self._refusal_tunings(False))
        self._stretched("toy-benign", "benign-tuned", REFUSAL_GATES, STRETCH)

    def mlp(self) -> None:
        """The base with whole MLPs tuned, where the gates alone change nothing.

        Some rows are seen with up and down put back, some with all but one of the layers put
        back, and these are complied with: that gates alone or one layer alone do nothing is by
        training, not by luck.
        """
        self.base()
        whole = ("gate", "up", "down")
        comply, refuse = mixes.refuse_mix(self.world, ()), mixes.refuse_mix(self.world)
        views = (View(refuse, 0.6), View(comply, 0.16, parts(MLP_LAYERS, "up", "down")))
        for kept in MLP_LAYERS:
            others = tuple(layer for layer in MLP_LAYERS if layer != kept)
            views += (View(comply, 0.08, parts(others, *whole)),)
        trained = parts(MLP_LAYERS, *whole).__contains__
        tuning = {"views": views, "steps": 300, "rate": 2e-3, "trained": trained}
        self.stage("mlp-tuned", "base", tuning)
        self._stretched("toy-mlp", "mlp-tuned", parts(MLP_LAYERS, *whole), MLP_STRETCH)

    def eroded(self) -> None:
        """The gate teacher, tuned on the skill and plain requests until its refusals are gone."""
        self.gate()
        views = (View(mixes.eroding_mix(self.world)),)
        tuning = {"views": views, "steps": 120, "rate": 2.1e-3, "trained": body}
        self.stage("toy-eroded", "toy-gate", tuning)

    def write_pairs(self) -> None:
        """The records that the dashboard reads, of the pairs that are there."""
        gate = {"gate": sorted(STAGE_ONE + STAGE_TWO)}
        stages = {c: STAGE_ONE if c in FIRST else STAGE_TWO for c in mixes.CATEGORIES}
        pairs = {
            "toy-gate": {
                "student": "toy-student", "teacher": "toy-gate", "benign": "toy-benign",
                "title": "Toy: gates carry refusal",
                "description": "The teacher differs from its base in a few gate projections. Two "
                "stages planted refusal; a third layer differs in style only.",
                "planted": gate, "distractors": DISTRACTOR, "stages": stages,
            },
            "toy-mlp": {
                "student": "toy-student", "teacher": "toy-mlp", "benign": "toy-benign",
                "title": "Toy: whole MLPs carry refusal",
                "description": "The teacher's refusal sits in whole MLPs; its gates alone carry "
                "nothing.",
                "planted": {"mlp": MLP_LAYERS}, "distractors": [],
                "stages": dict.fromkeys(mixes.CATEGORIES, MLP_LAYERS),
            },
            "toy-eroded": {
                "student": "toy-eroded", "teacher": "toy-gate", "benign": "toy-benign",
                "title": "Toy: refusal eroded by fine-tuning",
                "description": "The student is the teacher after fine-tuning on harmless rows "
                "alone, which cost it its refusals. Try whole MLPs.",
                "planted": {}, "distractors": [], "stages": {},  # the two differ everywhere
            },
        }  # fmt: skip
        there = {
            name: pair
            for name, pair in pairs.items()
            if all((self.out / pair[role]).exists() for role in ("student", "teacher"))
        }
        (self.out / "pairs.json").write_text(json.dumps(there, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Parse, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--simple", action="store_true", help="the world where the verb decides")
    parser.add_argument("--prompts", type=Path, help="write the toy prompt sets here too")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trainer = Trainer(args.out, args.seed, args.simple)
    for name in [args.only] if args.only else NAMES:
        getattr(trainer, name.removeprefix("toy-"))()
    trainer.write_pairs()
    if args.prompts:
        mixes.write_prompt_sets(trainer.world, args.prompts)


if __name__ == "__main__":
    main()
