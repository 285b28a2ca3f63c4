"""Draw the published prompts on which the safety adapters are tested, once, by row number.

No text is kept here, only which rows of which file. The first sample was drawn and committed before
the first training prompt was written and has been read; the second is of the rows that the first
left, drawn before the second training began; the third, of rows that neither has and of further
files, before the third training's first prompt was written. `python assets/real/draw_test_sample.py
FOLDER` with the published files makes all again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

FIRST = {
    "advbench.csv": ("harmful", "goal", 100),
    "jailbreakbench.csv": ("harmful", "Goal", 50),
    "strongreject.csv": ("harmful", "forbidden_prompt", 100),
    "dapa_harmless.csv": ("plain", "text", 200),
    "real_replies.jsonl": ("twins", "prompt", 100),
}
"""File -> (what it tests, column, rows drawn)."""
FURTHER = {
    "advbench.csv": ("harmful", "goal", 100),
    "strongreject.csv": ("harmful", "forbidden_prompt", 100),
    "harmbench.csv": ("harmful", "Behavior", 100),
    "alpaca.json": ("plain", "instruction", 200),
    "xstest_prompts.csv": ("twins", "prompt", 100),
}
"""Of the third sample: what was left, HarmBench's standard behaviours, the plain instructions of
Alpaca that Arditi et al. held out, and XSTest's own file."""
SAMPLES = {
    "test_sample.json": (20261129, FIRST),
    "test_sample_2.json": (20261130, FIRST),
    "test_sample_3.json": (20261201, FURTHER),
}
"""File beside this script -> seed and what is drawn; none has a row of an earlier one."""


def safe_twins(path: Path) -> list[str]:
    """XSTest's safe prompts: each once, in the order of the file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    unsafe = ("contrast_",)
    return list(dict.fromkeys(r["prompt"] for r in rows if not r["type"].startswith(unsafe)))


def prompts(path: Path, column: str) -> list[str]:
    """The prompts of one published file."""
    if path.suffix == ".jsonl":
        return safe_twins(path)
    if path.suffix == ".json":
        return [row[column] for row in json.loads(path.read_text("utf-8"))]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if "FunctionalCategory" in rows[0]:
        rows = [row for row in rows if row["FunctionalCategory"] == "standard"]
    if "focus" in rows[0]:
        rows = [row for row in rows if not row["type"].startswith("contrast_")]
    return [row[column] for row in rows]


def main(folder: Path) -> None:
    """Write which rows were drawn beside this script."""
    taken: dict[str, set[int]] = defaultdict(set)
    texts: set[str] = set()
    for file, (seed, wanted) in SAMPLES.items():
        rng, drawn = random.Random(seed), {}
        for name, (what, column, count) in wanted.items():
            rows = prompts(folder / name, column)
            free = [
                i
                for i, row in enumerate(rows)
                if i not in taken[name] and (name in FIRST or row not in texts)
            ]
            some = sorted(rng.sample(free, min(count, len(free))))
            taken[name].update(some)
            texts.update(rows[i] for i in some)
            drawn[name] = {
                "tests": what,
                "column": column,
                "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
                "rows": some,
            }
        text = json.dumps({"seed": seed, "files": drawn}, indent=1)
        Path(__file__).with_name(file).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
