"""The locked part of a split: drawn by seed, apart from the others, only where enough is left."""

import random
import time
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.core.records import Prompt
from dapa.prompts.sets import PromptSet, bundled
from dapa.prompts.splits import LEFT_OPEN, near_duplicates, overlap, split

NAMES = tuple(f"{a}{b}" for a in "bdfgklmnprst" for b in ("ab", "eck", "im", "old", "ur"))
texts = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=3, max_size=6).map(" ".join),
    min_size=1,
    max_size=140,
    unique=True,
)


def prompts_of(listed):
    return tuple(Prompt(text) for text in listed)


def apart(n):
    """Prompts of which no two are near-duplicates."""
    return prompts_of(f"{NAMES[i % 60]}{i} and{i} {NAMES[i // 60]}{i}x" for i in range(n))


@settings(max_examples=60)
@given(texts, st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.4]))
def test_the_parts_are_disjoint_whole_and_drawn_by_the_seed(listed, seed, share):
    prompts = prompts_of(listed)
    found = split(prompts, seed, lock=True, locked_share=share)
    parts = [*found.search, *found.held_out, *found.locked]
    assert sorted(p.text for p in parts) == sorted(listed)
    assert found == split(prompts, seed, lock=True, locked_share=share)
    assert len(found.locked) <= round(share * len(prompts))
    assert not found.locked or len(prompts) - len(found.locked) >= LEFT_OPEN


@settings(max_examples=60)
@given(texts, st.integers(0, 5))
def test_near_duplicates_stay_on_one_side_of_the_lock(listed, seed):
    found = split(prompts_of(listed), seed, lock=True)
    if found.note.startswith("plain"):
        return
    of = dict(zip(listed, near_duplicates(listed), strict=True))
    sides = [{of[p.text] for p in part} for part in (found.search, found.held_out, found.locked)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize(("n", "locked"), [(49, 0), (61, 0), (62, 12), (64, 13), (100, 20)])
def test_a_fifth_is_locked_where_fifty_are_left_to_the_others(n, locked):
    found = split(apart(n), seed=3, lock=True)
    assert len(found.locked) == locked
    assert len(found.held_out) == round(0.5 * (n - locked))


def test_another_seed_locks_other_prompts_and_none_are_locked_unasked():
    prompts = apart(100)
    first, second = (split(prompts, seed, lock=True).locked for seed in (0, 1))
    assert len(first) == len(second) == 20 and set(first) != set(second)
    assert split(prompts).locked == () and len(split(prompts).search) == 50


def test_a_set_with_a_split_of_its_own_locks_part_of_what_it_holds_out():
    prompts = tuple(
        Prompt(p.text, split="held_out" if i % 4 == 0 else "search")
        for i, p in enumerate(apart(120))
    )
    found = PromptSet("x", "harmful", prompts).split(2, lock=True)
    own = {p for p in prompts if p.split == "held_out"}
    assert set(found.held_out) | set(found.locked) == own and len(found.search) == 90
    assert (len(found.held_out), len(found.locked)) == (15, 15)  # at most half of 30
    assert "own split column" in found.note and "seed 2" in found.note


def test_one_great_cluster_is_locked_plainly_and_its_overlap_told():
    found = split([Prompt(f"empty the old well {i}") for i in range(100)], lock=True)
    assert len(found.locked) == 20 and found.note.startswith("plain")
    assert found.overlap == len(found.held_out) + len(found.locked)


def test_the_bundled_harmful_set_leaves_enough_to_be_locked():
    found = bundled()["general_harmful"].split(lock=True)
    assert (
        found.locked
        and overlap(
            [p.text for p in found.locked], [p.text for p in (*found.search, *found.held_out)]
        )
        == 0
    )


def test_near_duplicates_of_a_large_file_are_found_in_seconds():
    draw = random.Random(0)
    words = [f"w{i}" for i in range(20_000)]
    commonness = list(accumulate(1 / (i + 10) for i in range(20_000)))
    first = [" ".join(draw.choices(words, cum_weights=commonness, k=12)) for _ in range(200)]
    texts = [" ".join(draw.choices(words, cum_weights=commonness, k=12)) for _ in range(30_000)]
    texts += [f"{text} w1 w2" for text in first] + first
    began = time.process_time()
    clusters = near_duplicates(texts)
    assert time.process_time() - began < 4, "pair by pair it takes ten"
    assert clusters[30_000:30_200] == clusters[30_200:]
