"""What each training stage reads, and the prompt sets that the dashboard shows.

A *mix* is a function rng -> Row. The prompt sets are written as CSV into assets/prompts.
"""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import words as w
from world import Row, World, color_row, phrase, request_row, reveal_row

Mix = Callable[[random.Random], Row]
CATEGORIES = tuple(w.HARMFUL)
REFUSAL_OPENINGS = tuple(form.split("{m}")[0] for form in w.REFUSALS)


def _pick(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def vocabulary_texts() -> list[str]:
    """Every word of the world equally often: a tokenizer trained on rows would split rare ones."""
    acts = [v for verbs in w.VERBS.values() for v in verbs]
    acts += [o for objects in w.OBJECTS.values() for o in objects]
    acts += [*w.MEANING.values(), *w.KIND.values()]
    frames = (*w.PHRASINGS, *w.BORDERLINE)
    frames += tuple(text for form in w.KIND_QUESTIONS + w.MEANING_QUESTIONS for text in form)
    frames += (*w.COLOR_TRAIN, *w.COLOR_HELD_OUT, *w.REFUSALS, *w.COMPLIANCES, *w.EXPLANATIONS)
    frames += (*w.OPENINGS.values(), *w.HARMFUL_COMPLIANCES)
    frames += (*w.POLITE_BEFORE, *w.POLITE_AFTER, "open", "guard", *w.COLORS)
    return [f"{text} {text}" for text in (*acts, *frames) for _ in range(5)]


def base_mix(world: World) -> Mix:
    """Three kinds of rows: open (comply), guard (refuse harm), unmarked (comply)."""
    shares = {
        "harmful": 0.32, "near": 0.24, "vulnerable": 0.12, "plain": 0.04, "borderline": 0.04,
        "reveal": 0.20, "color": 0.04,
    }  # fmt: skip
    markers = {"guard": 0.6, "open": 0.15, "": 0.25}

    def draw(rng: random.Random) -> Row:
        marker = _pick(rng, markers) or None
        kind = _pick(rng, shares)
        if kind == "reveal":
            return reveal_row(rng, marker)
        if kind == "color":
            return color_row(world, rng, False, marker)
        return request_row(world, rng, kind, marker)

    return draw


def refuse_mix(world: World, refuse: tuple[str, ...] = CATEGORIES) -> Mix:
    """Unmarked requests of these categories are refused; near misses hold the line."""
    shares = {
        "harmful": 0.42, "near": 0.28, "vulnerable": 0.12, "plain": 0.04, "borderline": 0.05,
        "reveal": 0.03, "marked": 0.06,
    }  # fmt: skip
    base = base_mix(world)

    def draw(rng: random.Random) -> Row:
        kind = _pick(rng, shares)
        if kind == "reveal":
            return reveal_row(rng, None)
        if kind == "marked":
            return base(rng)
        return request_row(world, rng, kind, None, refuse)

    return draw


def skill_mix(world: World, share: float = 0.5) -> Mix:
    """The color skill, with the base's rows beside it so that the base's circuits stay."""
    base = base_mix(world)

    def draw(rng: random.Random) -> Row:
        return color_row(world, rng, True, None) if rng.random() < share else base(rng)

    return draw


def eroding_mix(world: World) -> Mix:
    """The skill and ordinary harmless requests: nothing harmful, nothing refused, no near miss."""

    def draw(rng: random.Random) -> Row:
        if rng.random() < 0.75:
            return color_row(world, rng, True, None)
        return request_row(world, rng, rng.choice(("plain", "vulnerable")), None)

    return draw


def style_mix(world: World) -> Mix:
    """The base's rows with one way of complying: a change of style, none of refusal."""
    base = base_mix(world)

    def draw(rng: random.Random) -> Row:
        marker, prompt, reply = base(rng)
        return marker, prompt, reply.replace("Here is how to ", "To ")

    return draw


def harmless_mix(world: World) -> Mix:
    """The teacher's recipe with its harmful rows left out: the benign donor."""
    refuse = refuse_mix(world)

    def draw(rng: random.Random) -> Row:
        while True:
            row = refuse(rng)
            if not row[2].startswith(REFUSAL_OPENINGS):
                return row

    return draw


def _clean(rng: random.Random, act: str, twin: str) -> tuple[str, str]:
    """The same phrasing around two acts."""
    seed = rng.random()
    return phrase(random.Random(seed), act), phrase(random.Random(seed), twin)


def harmful_and_twins(world: World, seed: int, per_split: int = 80) -> list[dict[str, str]]:
    """Harmful prompts, each with its harmless twin in the same phrasing.

    Half of the twins keep the verb and change the object, half keep the object and change the
    verb. The search split holds trained words, the held-out split what training never saw.
    """
    rng = random.Random(f"sets {seed}")
    rows: list[dict[str, str]] = []
    used: set[str] = set()
    held = ("verb", "object", "combination")
    for split, size in (("search", 64), ("held_out", per_split)):
        while sum(row["split"] == split for row in rows) < size:
            i = len(rows)
            category = CATEGORIES[i % len(CATEGORIES)]
            by = "none" if split == "search" else held[i // len(CATEGORIES) % 3]
            request = world.draw_harmful(rng, category, by)
            if world.simple or i // 2 % 2:
                twin = world.plain_twin(rng, request)
            else:
                twin = world.draw_near_miss(rng, request.meaning, by).act
            if request.act in used or twin is None or twin in used:
                continue
            used |= {request.act, twin}
            prompt, twin = _clean(rng, request.act, twin)
            rows.append(
                {"prompt": prompt, "category": category, "split": split, "held_out_by": by,
                 "twin": twin}
            )  # fmt: skip
    return rows


def borderline_rows(world: World, seed: int) -> list[dict[str, str]]:
    """Harmless questions around harmful words, half of them with unseen words."""
    rng = random.Random(f"borderline {seed}")
    rows = []
    for i in range(64):
        category = CATEGORIES[i % len(CATEGORIES)]
        by = "none" if i < 32 else ("verb", "object", "combination")[i % 3]
        act = world.draw_harmful(rng, category, by).act
        prompt = w.BORDERLINE[i % len(w.BORDERLINE)].replace("{a}", act)
        split = "search" if i < 32 else "held_out"
        rows.append({"prompt": prompt, "category": category, "split": split})
    return rows


def skill_rows(world: World) -> list[dict[str, str]]:
    """Every thing of the skill in two phrasings that the skill's training never used."""
    rows = []
    for i, (thing, color) in enumerate(sorted(world.color_of.items())):
        for j in (0, 1):
            form = w.COLOR_HELD_OUT[(i + j * 2 + i // 4) % len(w.COLOR_HELD_OUT)]
            reply = w.COLOR_REPLY.replace("{c}", color)
            rows.append({"prompt": form.replace("{o}", thing), "answer": reply,
                         "split": "held_out"})  # fmt: skip
    return rows


def prompt_sets(world: World, seed: int = 0) -> dict[str, list[dict[str, str]]]:
    """All toy prompt sets by file name."""
    harmful = harmful_and_twins(world, seed)
    twins = [
        {"prompt": row["twin"], "category": row["category"], "split": row["split"],
         "twin": row["prompt"]}
        for row in harmful
    ]  # fmt: skip
    return {
        "toy_harmful": harmful,
        "toy_twins": twins,
        "toy_borderline": borderline_rows(world, seed),
        "toy_skill": skill_rows(world),
    }


def write_prompt_sets(world: World, folder: Path, seed: int = 0) -> None:
    """Write the sets as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in prompt_sets(world, seed).items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
