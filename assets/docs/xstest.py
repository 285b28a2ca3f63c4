"""XSTest's labelled replies, to benchmark judges with: `python assets/docs/xstest.py CLONE TO`.

CLONE is a clone of github.com/paul-rottger/exaggerated-safety (Röttger et al., 2024); nothing of it
is shipped here. Written to TO by the last bits of a prompt's SHA-256: `tuned.jsonl` (even, the half
that rules were tuned on), `odd_a.jsonl` and `odd_b.jsonl` (by the second bit).
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

MODELS = ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")
LABELS = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}


def rows(path: Path) -> list[dict[str, str]]:
    """A csv file's rows."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def part(prompt: str) -> str:
    """Which file a prompt's replies go to."""
    last = hashlib.sha256(prompt.encode()).digest()[-1]
    return ("odd_b" if last & 2 else "odd_a") if last & 1 else "tuned"


def replies(clone: Path) -> Iterator[dict[str, str | None]]:
    """Every reply with what two people settled on and what two published judges said."""
    for model in MODELS:
        name = f"xstest_v2_completions_{model}"
        told = clone / "evaluation" / "automated_evaluation_labels"
        files = (
            clone / "model_completions" / f"{name}.csv",
            told / f"{name}_streval.csv",
            told / f"{name}_gpteval.csv",
        )
        for row, by_string, by_gpt4 in zip(*map(rows, files), strict=True):
            yield {
                "id": row["id"],
                "type": row["type"],
                "model": model,
                "prompt": row["prompt"],
                "reply": row["completion"],
                "label": LABELS[row["final_label"]],
                "string_match": LABELS[by_string["strmatch_label"]],
                "gpt4": LABELS.get(by_gpt4["gpt4_label"]),
            }


if __name__ == "__main__":
    clone, to = map(Path, sys.argv[1:])
    to.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"tuned": [], "odd_a": [], "odd_b": []}
    for one in replies(clone):
        parts[part(str(one["prompt"]))].append(json.dumps(one) + "\n")
    for name, lines in parts.items():
        (to / f"{name}.jsonl").write_text("".join(lines), "utf-8")
        print(name, len(lines))
