"""Refusals of the base and of an adapter: `python assets/real/measure.py BASE ADAPTER`.

Without more it asks the bundled prompts of kinds that no training prompt has; `--published FOLDER`
asks the rows of a sample that `draw_test_sample.py` drew, which are read once, when training is
over; `--sample` names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from draw_test_sample import prompts as published_prompts
from torch import nn
from train import HERE, Recipe, Teaching, load, rows

from dapa.core.records import Label
from dapa.core.statistics import wilson
from dapa.judges import rules  # noqa: F401  (registers the judge)
from dapa.judges.base import judges

TEXT = HERE.parent / "text"


def held_out_kinds() -> dict[str, list[str]]:
    """Bundled prompts whose kind no training prompt has, with their twins."""
    known = {row["kind"] for row in rows(HERE / "prompts" / "pairs.csv")}
    found = rows(HERE.parent / "prompts" / "general_harmful.csv")
    some = [row for row in found if row["category"] not in known]
    return {"harmful": [r["prompt"] for r in some], "twins": [r["twin"] for r in some]}


def sample(folder: Path, name: str) -> dict[str, list[str]]:
    """The published rows that were drawn beforehand; the files must be those that were drawn of."""
    drawn = json.loads((HERE / name).read_text("utf-8"))["files"]
    found = {}
    for file, one in drawn.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == one["sha256"], file
        every = published_prompts(folder / file, one["column"])
        found[f"{one['tests']} ({file})"] = [every[i] for i in one["rows"]]
    return found


def refused(here: Teaching, prompts: Sequence[str], limit: int) -> tuple[int, list[str]]:
    """How many are refused by the rules, and the replies."""
    replies = [
        here.tokens.decode(r, skip_special_tokens=True) for r in here.replies(prompts, limit)
    ]
    judge = judges["rules"]()
    told = judge.all(list(zip(prompts, replies, strict=True)))
    return sum(one.label is Label.REFUSAL for one in told), replies


@torch.no_grad()
def perplexity(here: Teaching, text: str) -> float:
    """Over windows of 512 tokens of a text, each read by itself."""
    ids = here.tokens(text, add_special_tokens=False).input_ids
    total, count = 0.0, 0
    for at in range(0, len(ids) - 1, 512):
        some = ids[at : at + 513]
        logits = here.model.lm_head(here.hidden([some[:-1]])[0]).float()
        total += float(nn.functional.cross_entropy(logits, torch.tensor(some[1:]), reduction="sum"))
        count += len(some) - 1
    return float(torch.tensor(total / count).exp())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--published", type=Path, default=None)
    parser.add_argument("--sample", default="test_sample_3.json")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--some", type=int, default=0, help="ask so many of each at most")
    parser.add_argument("--student", action="store_true", help="ask the base as well")
    parser.add_argument("--show", action="store_true", help="print refused harmless prompts")
    told = parser.parse_args()
    config = json.loads((told.adapter / "adapter_config.json").read_text("utf-8"))
    layers = config["layers_to_transform"]
    recipe = Recipe(config["r"], tuple(config["target_modules"]), layers, config["lora_alpha"])
    here = Teaching(told.base, recipe)
    load(here.adapters, told.adapter)
    sets: Mapping[str, Sequence[str]] = (
        sample(told.published, told.sample) if told.published else held_out_kinds()
    )
    for who in ("base", "adapted")[0 if told.student else 1 :]:
        here.turn_on(who == "adapted")
        for name, every in sets.items():
            asked = every[:: max(1, len(every) // told.some)] if told.some else every
            count, replies = refused(here, asked, told.limit)
            rate = wilson(count, len(asked))
            print(
                f"{who} {name}: {count} of {len(asked)} refused [{rate.low:.3f}, {rate.high:.3f}]",
                flush=True,
            )
            if told.show:
                for prompt, reply in list(zip(asked, replies, strict=True))[:400]:
                    print("   ", json.dumps([prompt[:90], reply[:70]]))
    texts = sorted(TEXT.glob("*.txt"))
    for path in texts:
        text = path.read_text("utf-8")
        here.turn_on(False)
        old = perplexity(here, text)
        here.turn_on(True)
        new = perplexity(here, text)
        print(f"perplexity of {path.name}: {old:.3f} -> {new:.3f} ({new / old - 1:+.2%})")


if __name__ == "__main__":
    main()
