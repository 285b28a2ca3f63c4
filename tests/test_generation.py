"""The decoding loop: a row's text is its own, whoever shares the batch with it."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ORDINARY, TOKENIZER, generated, masks, prompts_of_ids, random_trio, run_out

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Unit
from dapa.core.settings import MAX_SEED
from dapa.model.decode.generation import Batch, Row, complete, stream
from dapa.model.decode.sampling import Decoding
from dapa.model.template import encode, render
from dapa.planted.pairs import Planting, plant
from dapa.prompts.format import PromptFormat, Turn

END = TOKENIZER.eos_token_id
PROMPTS = [(9, 14, 23), (40, 41, 42, 12, 7, 8), (33,), (5, 6, 28, 19, 77, 80, 61, 30, 31)]


def row(ids=PROMPTS[0], mask=EMPTY, **more):
    return Row(tuple(ids), mask, **more)


def some_mask(trio, strength=1.0):
    return Mask.of(trio.pair.units("gate"), strength)


@st.composite
def arrivals(draw, family):
    """Rows with their masks, limits, the step at which they come, and that at which they go."""
    few = draw(st.lists(masks(family), min_size=1, max_size=2))
    return [
        (
            draw(prompts_of_ids()),
            draw(st.sampled_from([EMPTY, *few])),
            draw(st.integers(1, 14)),
            draw(st.integers(0, 6)),
            draw(st.sampled_from([None, None, None, 2, 5])),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


@settings(max_examples=15)
@given(data=st.data())
def test_a_row_decodes_as_transformers_decodes_its_copied_weights_alone(trio, data):
    coming = data.draw(arrivals(trio.pair.family))
    batch = Batch(trio.pair)
    rows = [row(ids, mask, max_new_tokens=limit) for ids, mask, limit, _, _ in coming]
    time = 0
    while batch.rows or time <= 6:
        batch.admit([r for r, c in zip(rows, coming, strict=True) if c[3] == time])
        batch.drop([r for r, c in zip(rows, coming, strict=True) if c[4] == time])
        batch.step()
        time += 1
    for r, (ids, mask, limit, _, _) in zip(rows, coming, strict=True):
        expected = generated(trio.materialised(mask), ids, limit)
        if r.ending == "stopped":
            expected = expected[: len(r.new_ids)]
        assert r.new_ids == expected
        assert r.text == TOKENIZER.decode(expected, skip_special_tokens=True)


def test_the_teachers_batch_ignores_masks_and_equals_the_teacher(trio):
    rows = complete(
        trio.pair, [row(ids, some_mask(trio)) for ids in PROMPTS], Decoding(8), "teacher"
    )
    assert [r.new_ids for r in rows] == [generated(trio.teacher, ids, 8) for ids in PROMPTS]


def test_every_row_of_a_batch_has_its_own_mask_and_equals_the_row_alone(trio):
    pool = [EMPTY, some_mask(trio), some_mask(trio, 0.5), Mask.of([Unit(0, "up", (2, 9))])]
    rows = [row(ids, mask) for ids in PROMPTS for mask in pool]
    complete(trio.pair, rows, Decoding(10))
    for r in rows:
        (alone,) = complete(trio.pair, [row(r.ids, r.mask)], Decoding(10))
        assert (r.new_ids, r.text, r.ending) == (alone.new_ids, alone.text, alone.ending)


def test_an_abandoned_stream_leaves_no_mask_in_its_context(trio):
    ids = torch.tensor([PROMPTS[1]])
    batch = Batch(trio.pair, Decoding(30))
    batch.admit([row(mask=some_mask(trio))])
    rounds = stream([batch])
    next(rounds)
    assert torch.equal(trio.pair.student(ids).logits, trio.student(ids).logits)
    rounds.close()


def test_two_threads_stream_different_masks_at_once(trio):
    jobs = {
        name: [row(ids, mask) for ids in PROMPTS]
        for name, mask in (
            ("plain", EMPTY),
            ("gates", some_mask(trio)),
            ("half", some_mask(trio, 0.5)),
        )
    }
    threads = [
        threading.Thread(target=complete, args=(trio.pair, rows, Decoding(12)))
        for rows in jobs.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rows in jobs.values():
        for r in rows:
            assert r.new_ids == generated(trio.materialised(r.mask), r.ids, 12)


# -- endings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    return random_trio("llama")


def endless(trio, count=6):
    """Prompts whose greedy replies do not end within 20 tokens."""
    found = [(i, j) for i in ORDINARY[:8] for j in ORDINARY[20:24]]
    return [p for p in found if END not in generated(trio.student, p, 20)][:count]


def test_a_reply_ends_at_the_end_token_and_says_so(llama):
    long = endless(llama)[0]
    ends = generated(llama.student, long, 6)[5]  # call the sixth token the end
    batch = Batch(llama.pair)
    batch._ends = frozenset({ends})
    rows = [row(long), row(long, max_new_tokens=3)]
    batch.admit(rows)
    run_out(batch)
    first = rows[0].new_ids.index(ends)
    assert rows[0].ending == "end" and rows[0].new_ids[-1] == ends and len(rows[0].new_ids) <= 6
    assert rows[0].text == TOKENIZER.decode(rows[0].new_ids[:first])
    assert rows[1].ending == "length" and len(rows[1].new_ids) == 3


def test_ends_are_those_of_the_generation_config_and_of_the_tokenizer(llama):
    assert Batch(llama.pair)._ends == {END}
    config = llama.pair.student.generation_config
    before = config.eos_token_id
    try:
        config.eos_token_id = [7, 8]
        assert Batch(llama.pair)._ends == {7, 8, END}
        config.eos_token_id = None
        assert Batch(llama.pair)._ends == {END}
    finally:
        config.eos_token_id = before


def test_max_tokens_come_from_the_row_or_else_from_the_decoding(llama):
    prompts = endless(llama, 3)
    rows = [row(prompts[0], max_new_tokens=1), row(prompts[1], max_new_tokens=7), row(prompts[2])]
    complete(llama.pair, rows, Decoding(4))
    assert [len(r.new_ids) for r in rows] == [1, 7, 4]
    assert {r.ending for r in rows} == {"length"}


def test_settled_ends_a_row_early_and_only_that_row(llama):
    a, b = endless(llama, 2)
    seen = []

    def settled(text):
        seen.append(text)
        return len(text.split()) >= 3

    rows = [row(a, settled=settled), row(b)]
    complete(llama.pair, rows, Decoding(9))
    assert rows[0].ending == "settled" and len(rows[0].new_ids) < 9
    assert seen[-1] == rows[0].text and len(seen) == len(rows[0].new_ids)
    assert rows[1].new_ids == generated(llama.student, b, 9)


def test_a_stop_halts_within_two_steps_and_keeps_the_text(llama):
    stop, batch = threading.Event(), Batch(llama.pair, Decoding(20))
    other = Batch(llama.pair, Decoding(20), "teacher")
    rows = [row(p) for p in endless(llama, 2)]
    batch.admit(rows)
    other.admit([row(PROMPTS[0])])
    ended = []
    for number, left in enumerate(stream([batch, other], stop)):
        ended += left
        if number == 2:
            stop.set()
            steps = batch.steps
    assert batch.steps <= steps + 2 and not batch.rows and not other.rows
    assert all(r.ending == "stopped" and r.text for r in rows) and set(rows) <= set(ended)


def test_dropping_a_row_that_has_left_or_never_came_changes_nothing(llama):
    a, b = endless(llama, 2)
    batch = Batch(llama.pair, Decoding(9))
    gone, going, never = row(a, max_new_tokens=1), row(b), row(a)
    batch.admit([gone, going])
    batch.drop([gone, never])
    assert (gone.ending, never.ending, batch.rows) == ("length", None, [going])
    run_out(batch)
    assert going.new_ids == generated(llama.student, b, 9)


def test_a_reply_stops_where_the_context_ends(llama):
    context = llama.pair.context_length
    long = tuple((endless(llama)[0] * context)[: context - 3])
    (r,) = complete(llama.pair, [row(long)], Decoding(50))
    assert r.ending in ("length", "end") and len(long) + len(r.new_ids) <= context
    if r.ending == "length":
        assert len(r.new_ids) == 3


def test_a_prompt_that_fills_the_context_is_refused_before_anything_runs(llama):
    context = llama.pair.context_length
    batch = Batch(llama.pair)
    good = row()
    with pytest.raises(PromptError, match=rf"{context} tokens and the context holds {context}"):
        batch.admit([good, row((7,) * context)])
    assert not batch.rows and batch.prefilled == 0
    batch.admit([good])
    assert batch.rows == [good] or good.ending


def test_a_seed_out_of_range_and_an_impossible_mask_leave_the_batch_as_it_was(llama):
    batch = Batch(llama.pair, Decoding(9))
    kept = row(endless(llama)[0])
    batch.admit([kept])
    for bad in (row(seed=-1), row(seed=MAX_SEED + 1), row(mask=Mask.of([Unit(99)]))):
        with pytest.raises(SettingError):
            batch.admit([bad])
    run_out(batch)
    assert kept.new_ids == generated(llama.student, kept.ids, 9)


# -- the books ----------------------------------------------------------------------------------


def test_counters_count_steps_prompt_tokens_and_new_tokens(llama):
    a, b = endless(llama, 2)
    batch = Batch(llama.pair)
    batch.admit([row(a, max_new_tokens=5), row((*b, 9, 9), max_new_tokens=2)])
    run_out(batch)
    assert (batch.steps, batch.prefilled, batch.decoded) == (4, 6, 7)
    assert batch.step() == [] and batch.steps == 4


def test_compaction_cuts_the_padding_that_a_long_row_leaves_behind(llama):
    short, long = endless(llama)[0], PROMPTS[3]
    batch = Batch(llama.pair)
    batch.admit([row(short, max_new_tokens=9), row(long, max_new_tokens=3)])
    batch.step()
    assert (batch._kv_cache.rows, batch._kv_cache.length) == (2, len(long) + 1)
    batch.step()  # the long row ends and leaves
    assert (batch._kv_cache.rows, batch._kv_cache.length) == (1, len(short) + 2)
    run_out(batch)
    assert (batch._kv_cache.rows, batch._kv_cache.length, batch._plan) == (0, 0, None)


def test_a_batch_of_nobody_costs_nothing(llama):
    batch = Batch(llama.pair)
    assert batch.admit([]) == [] and batch.step() == [] and list(stream([batch])) == []


# -- sampling in a batch ------------------------------------------------------------------------


def test_a_sampled_row_depends_on_its_seed_only(trio):
    how = Decoding(10, temperature=1.3, top_p=0.95, top_k=40, repetition_penalty=1.2)
    rows = [row(PROMPTS[i % 4], seed=100 + i) for i in range(8)]
    batch = Batch(trio.pair, how)
    batch.admit(rows[:3])
    batch.step()
    batch.admit(rows[3:])
    run_out(batch)
    for r in rows:
        (alone,) = complete(trio.pair, [row(r.ids, seed=r.seed)], how)
        assert r.new_ids == alone.new_ids
    assert len({tuple(r.new_ids) for r in rows[::4]}) > 1
    twins = [row(PROMPTS[0], seed=5) for _ in range(2)]
    complete(trio.pair, twins, how)
    assert twins[0].new_ids == twins[1].new_ids


def test_a_repetition_penalty_decodes_as_transformers_does(trio):
    for ids in PROMPTS:
        prompt = torch.tensor([ids])
        expected = trio.student.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=12,
            repetition_penalty=1.4, pad_token_id=0, eos_token_id=END,
        )[0, len(ids):].tolist()  # fmt: skip
        (r,) = complete(trio.pair, [row(ids)], Decoding(12, repetition_penalty=1.4))
        assert r.new_ids == expected


def test_bfloat16_rows_of_one_batch_decode_to_finite_known_tokens():
    trio = random_trio("llama", dtype=torch.bfloat16)
    rows = [row(ids, mask) for ids in PROMPTS for mask in (EMPTY, some_mask(trio, 0.5))]
    complete(trio.pair, rows, Decoding(6, repetition_penalty=1.1))
    assert all(0 <= token < len(TOKENIZER) for r in rows for token in r.new_ids)
    assert np.isfinite([len(r.text) for r in rows]).all()


def test_a_patched_student_may_end_as_its_teacher_does():
    models = plant(Planting(2, (1,)))
    pair, how = models.pair(), PromptFormat()
    other = pair.tokenizer.convert_tokens_to_ids("▁cannot")
    pair.teacher.generation_config.eos_token_id = [pair.tokenizer.eos_token_id, other]
    ids = encode(pair, render(pair, [Turn("user", "use malware")], how), how)
    (row,) = complete(pair, [Row(ids, Mask.of(pair.units("gate")))])
    assert (row.text, row.ending) == ("I'm sorry, but we", "end")


LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "short_factor": [1.0] * 4,
    "long_factor": [4.0, 8.0, 16.0, 30.0], "original_max_position_embeddings": 24,
}  # fmt: skip


@pytest.mark.parametrize("model_type", ["phi3", "llama"])
def test_a_row_ends_where_longrope_would_turn_every_position_of_its_batch_otherwise(model_type):
    """Transformers asks the longest row of a batch which factors all of its rows take."""
    extra = {"original_max_position_embeddings": 24} if model_type == "phi3" else {}
    trio = random_trio(model_type, rope_parameters=LONG_ROPE, sliding_window=None, **extra)
    assert trio.pair.context_length == 24 < trio.student.config.max_position_embeddings
    rows = [row(tuple(range(5, 5 + n)), max_new_tokens=9) for n in (3, 21, 12, 23)]
    for one in complete(trio.pair, rows):
        told = generated(trio.student, one.ids, min(9, 24 - len(one.ids)))
        assert one.new_ids == told and len(one.ids) + len(told) <= 24
    with pytest.raises(PromptError, match="24"):
        complete(trio.pair, [row(tuple(range(5, 35))), row()])
