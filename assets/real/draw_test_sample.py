"""Draw the published prompts on which the safety adapters are tested, once, by row number.

No text is kept here, only which rows of which file. The first sample was drawn and committed before
the first training prompt was written and has been read; the second is of the rows that the first
left, drawn before the second training began. `python assets/real/draw_test_sample.py FOLDER` with
the published files makes both again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from pathlib import Path

SAMPLES = {"test_sample.json": 20261129, "test_sample_2.json": 20261130}
"""File beside this script -> seed; a later sample has no row of an earlier one."""
WANTED = {
    "advbench.csv": ("harmful", "goal", 100),
    "jailbreakbench.csv": ("harmful", "Goal", 50),
    "strongreject.csv": ("harmful", "forbidden_prompt", 100),
    "dapa_harmless.csv": ("plain", "text", 200),
    "real_replies.jsonl": ("twins", "prompt", 100),
}
"""File -> (what it tests, column, rows drawn)."""


def safe_twins(path: Path) -> list[str]:
    """XSTest's safe prompts: each once, in the order of the file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    unsafe = ("contrast_",)
    return list(dict.fromkeys(r["prompt"] for r in rows if not r["type"].startswith(unsafe)))


def prompts(path: Path, column: str) -> list[str]:
    """The prompts of one published file."""
    if path.suffix == ".jsonl":
        return safe_twins(path)
    with path.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def main(folder: Path) -> None:
    """Write which rows were drawn beside this script."""
    taken: dict[str, set[int]] = {name: set() for name in WANTED}
    for file, seed in SAMPLES.items():
        rng, drawn = random.Random(seed), {}
        for name, (what, column, count) in WANTED.items():
            rows = prompts(folder / name, column)
            free = [i for i in range(len(rows)) if i not in taken[name]]
            some = sorted(rng.sample(free, min(count, len(free))))
            taken[name].update(some)
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
