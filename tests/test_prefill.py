"""Prompts read in part: what is known is not read again, and nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LAYERS, ORDINARY, generated, masks, prompts_of_ids, random_trio, run_out

from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.prefill import Prefiller
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.states import States, path_of

HEAD = (9, 14, 23, 40)
PROMPTS = [(*HEAD, 41, 42, 12), (*HEAD, 33), (*HEAD, 5, 6, 28, 19, 77, 80)]


@pytest.fixture(scope="module")
def llama():
    return random_trio("llama")


def gates(*layers):
    return Mask.of([Unit(layer, "mlp") for layer in layers])


def decode(batch, asked, limit=6):
    """(prompt, mask) pairs through one admission; the new tokens in the order asked."""
    rows = [Row(ids, mask, max_new_tokens=limit) for ids, mask in asked]
    batch.admit(rows)
    run_out(batch)
    return [row.new_ids for row in rows]


@st.composite
def admissions(draw, family):
    """Several admissions of rows that share prompts and beginnings of masks, and a budget."""
    prompts = draw(st.lists(prompts_of_ids(6), min_size=1, max_size=3))
    prompts = [(*HEAD, *ids) for ids in prompts]
    few = [EMPTY, *draw(st.lists(masks(family), min_size=1, max_size=3))]
    few += [Mask(tuple(e for e in m.entries if e[0].layer < 2)) for m in few[1:]]
    row = st.tuples(st.sampled_from(prompts), st.sampled_from(few))
    waves = draw(st.lists(st.lists(row, min_size=1, max_size=4), min_size=1, max_size=4))
    head = draw(st.sampled_from([(), HEAD[:1], HEAD, (*HEAD, 1)]))
    return waves, head, draw(st.sampled_from([0, 20_000, 10**9]))


@settings(max_examples=20)
@given(data=st.data())
def test_rows_that_enter_in_the_middle_decode_as_their_copied_weights_do_alone(trio, data):
    waves, head, budget = data.draw(admissions(trio.pair.family))
    states = States(LAYERS, budget)
    for wave in waves:
        batch = Batch(trio.pair, reader=Prefiller(trio.pair, states=states, head=head))
        expected = [generated(trio.materialised(mask), ids, 6) for ids, mask in wave]
        assert decode(batch, wave) == expected
        assert states.size <= budget


def test_rows_come_into_a_running_batch_from_kept_states(trio):
    states = States(LAYERS, 10**9)
    batch = Batch(trio.pair, Decoding(9), reader=Prefiller(trio.pair, states=states, head=HEAD))
    pool = [EMPTY, gates(1), gates(1, 2), gates(0, 2), Mask.of([Unit(2, "gate", (2, 9))], 0.5)]
    rows = [Row(ids, mask) for mask in pool for ids in PROMPTS]
    for i in range(0, len(rows), 4):
        batch.admit(rows[i : i + 4])
        batch.step()
    run_out(batch)
    for row in rows:
        assert row.new_ids == generated(trio.materialised(row.mask), row.ids, 9)


def test_the_teacher_reads_whatever_the_mask_is_as_itself(trio):
    states = States(LAYERS, 10**9)
    for mask in (EMPTY, gates(0, 1)):
        batch = Batch(trio.pair, role="teacher", reader=Prefiller(trio.pair, "teacher", states))
        asked = [(ids, mask) for ids in PROMPTS]
        assert decode(batch, asked) == [generated(trio.teacher, ids, 6) for ids in PROMPTS]
        assert batch.prefilled == (0 if mask.entries else sum(map(len, PROMPTS)))


# -- what it saves -----------------------------------------------------------------------------


def test_a_mask_is_read_from_the_lowest_layer_on_in_which_it_differs(llama):
    states, counts = States(LAYERS, 10**9), []
    for mask in (gates(0, 1, 2), gates(0, 1), gates(0), gates(0), EMPTY):
        batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=states))
        decode(batch, [(PROMPTS[0], mask)], 1)
        counts.append((batch.work.prefilled, batch.work.reused))
    whole = len(PROMPTS[0])
    third = whole / LAYERS
    new = [whole, third, 2 * third, 0, whole]
    assert counts == [pytest.approx((n, whole - n)) for n in new]


def test_rows_of_one_admission_share_what_their_masks_share(llama):
    batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=States(LAYERS, 0)))
    decode(batch, [(PROMPTS[0], EMPTY), (PROMPTS[0], gates(2)), (PROMPTS[0], EMPTY)], 1)
    assert batch.work.prefilled == pytest.approx(len(PROMPTS[0]) * (1 + 1 / LAYERS))


def test_the_head_is_read_once_a_mask(llama):
    states = States(LAYERS, 10**9)
    batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=states, head=HEAD))
    decode(batch, [(ids, EMPTY) for ids in PROMPTS], 1)
    own = sum(len(ids) - len(HEAD) for ids in PROMPTS)
    assert batch.work.prefilled == own + len(HEAD)
    batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=states, head=HEAD))
    decode(batch, [(ids, gates(2)) for ids in PROMPTS], 1)
    assert batch.work.prefilled == pytest.approx((own + len(HEAD)) / LAYERS)


def test_what_does_not_fit_the_budget_is_read_again(llama):
    states = States(LAYERS, 0)
    for _ in range(2):
        batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=states))
        decode(batch, [(PROMPTS[0], gates(1))], 1)
        assert (batch.prefilled, states.size) == (len(PROMPTS[0]), 0)


def test_the_block_that_was_used_longest_ago_is_dropped_first(llama):
    pair = llama.pair

    def read(states, ids):
        batch = Batch(pair, reader=Prefiller(pair, states=states))
        decode(batch, [(ids, EMPTY)], 1)
        return batch.prefilled

    one = States(LAYERS, 10**9)
    read(one, PROMPTS[0])
    states = States(LAYERS, 2 * one.size)
    a, b, c = ((*HEAD, 41, 42, x) for x in ORDINARY[:3])
    assert [read(states, ids) for ids in (a, b, a, c)] == [7, 7, 0, 7]
    assert [read(states, ids) for ids in (a, c, b)] == [0, 0, 7]


def test_a_reading_that_breaks_off_leaves_nothing_that_could_be_used(llama, monkeypatch):
    states = States(LAYERS, 10**9)
    model = llama.pair.student
    with monkeypatch.context() as patch:
        patch.setattr(model.lm_head, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            decode(
                Batch(llama.pair, reader=Prefiller(llama.pair, states=states)),
                [(PROMPTS[0], EMPTY)],
            )
    batch = Batch(llama.pair, reader=Prefiller(llama.pair, states=states))
    expected = [generated(llama.student, PROMPTS[0], 6)]
    assert decode(batch, [(PROMPTS[0], EMPTY)]) == expected and batch.prefilled == 7


def test_no_entry_stays_behind_in_the_context(llama):
    states = States(LAYERS, 10**9)
    for mask in (gates(2), EMPTY):
        decode(Batch(llama.pair, reader=Prefiller(llama.pair, states=states)), [(PROMPTS[0], mask)])
        ids = torch.tensor([PROMPTS[1]])
        assert torch.equal(llama.pair.student(ids).logits, llama.student(ids).logits)


def test_a_path_tells_masks_apart_by_layer_unit_block_and_strength():
    a = path_of(Mask(((Unit(0, "gate"), 1.0), (Unit(2, "up", (1, 3)), 0.5))), 3)
    b = path_of(Mask(((Unit(0, "gate"), 1.0), (Unit(2, "up", (1, 4)), 0.5))), 3)
    assert a.levels[:2] == b.levels[:2] and a.levels[2] != b.levels[2]
    assert path_of(Mask.of([Unit(0)], 0.5), 1) != path_of(Mask.of([Unit(0)]), 1)
    ends = [path_of(Mask.of([Unit(-1, kind)]), 2) for kind in ("embeddings", "final_norm", "head")]
    assert ends[0] != path_of(EMPTY, 2) and ends[1] == ends[2] == path_of(EMPTY, 2)
