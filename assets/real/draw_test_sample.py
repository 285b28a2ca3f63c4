"""Draw the published prompts on which the safety adapters are tested, once, by row number.

Drawn and committed before the first training prompt was written: no text is kept here, only
which rows of which file. `python assets/real/draw_test_sample.py FOLDER` with the published files
makes `test_sample.json` again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from pathlib import Path

SEED = 20261129
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
    rng, drawn = random.Random(SEED), {}
    for name, (what, column, count) in WANTED.items():
        rows = prompts(folder / name, column)
        drawn[name] = {
            "tests": what,
            "column": column,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "rows": sorted(rng.sample(range(len(rows)), min(count, len(rows)))),
        }
    text = json.dumps({"seed": SEED, "files": drawn}, indent=1)
    Path(__file__).with_name("test_sample.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
