"""Rows go down when memory runs out, nothing of a reply changes, and it is remembered."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

from dapa.core.records import EMPTY, Mask, OutOfMemory, PairError, Unit, ran_out
from dapa.model.decode import generation
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.optimizations import Optimizations
from dapa.model.decode.prefill import prefiller_for
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import serve
from dapa.model.room import Peak, Room, row_bytes, within_memory
from dapa.model.spec import PairSpec
from dapa.ui.dashboard import plain_error
from dapa.ui.tasks import Tasks
from dapa.workbench import Workbench

CPU = "[enforce fail at alloc_cpu.cpp:119] data. DefaultCPUAllocator: can't allocate memory: you"
FAULTS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "cpu": RuntimeError(CPU),
    "python": MemoryError(),
    "system": OSError(12, "Cannot allocate memory"),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    "binding": RuntimeError("std::bad_alloc"),
}


@pytest.fixture(autouse=True)
def fresh_room(planted_pair, monkeypatch):
    """Every test begins with a pair that never ran short."""
    monkeypatch.setattr(planted_pair, "room", Room())


@pytest.mark.parametrize("fault", FAULTS)
def test_each_librarys_word_for_too_little_memory_is_known(fault):
    assert ran_out(FAULTS[fault])


def test_other_errors_are_not_taken_for_too_little_memory():
    for error in (RuntimeError("shape '[2]' is invalid"), ValueError("out of memory"), OSError(2)):
        assert not ran_out(error)
    assert ran_out(OutOfMemory("x")) and not ran_out(PairError("out of memory"))


MASKS = (EMPTY, Mask.of([Unit(1, "gate"), Unit(2, "gate")]), Mask.of([Unit(0, "gate")]))


def rows_of(count=9):
    torch.manual_seed(0)
    ids = torch.randint(5, 60, (count, 7)).tolist()
    return [Row(tuple(ids[i][: 4 + i % 4]), MASKS[i % 3], seed=i, tag=i) for i in range(count)]


def served(of, rows, capacity=6, decoding=None, **options):
    queue, ended = list(rows), []

    def take(room):
        new, queue[:] = queue[:room], queue[room:]
        return new

    reader = prefiller_for(of, [row.ids for row in rows], Optimizations())
    batch = Batch(of, decoding or Decoding(12), reader=reader)
    serve(batch, capacity, take, ended.append, **options)
    assert sorted(row.tag for row in ended) == list(range(len(rows))), "each row ends once"
    return [tuple(row.new_ids) for row in rows]


def scarce(monkeypatch, most, fault, when="step"):
    """Let a batch of more rows than `most` run out of memory; counts how often it did."""
    told = SimpleNamespace(times=0)
    whole = getattr(Batch, when)

    def short(batch, *rows):
        if len(batch.rows) + sum(map(len, rows)) > most:
            told.times += 1
            raise fault
        return whole(batch, *rows)

    monkeypatch.setattr(generation.Batch, when, short)
    return told


@pytest.mark.parametrize("fault", ["cuda", "cpu", "python"])
@pytest.mark.parametrize("when", ["step", "admit"])
def test_replies_are_the_same_when_memory_runs_out_on_the_way(
    planted_pair, monkeypatch, fault, when
):
    sampled = Decoding(12, temperature=1.0)
    plain = [served(planted_pair, rows_of()), served(planted_pair, rows_of(), decoding=sampled)]
    told = scarce(monkeypatch, 2, FAULTS[fault], when)
    assert served(planted_pair, rows_of()) == plain[0]
    assert planted_pair.room.most("replies", 48) <= 2
    before = told.times
    assert served(planted_pair, rows_of(), decoding=sampled) == plain[1]
    assert told.times == before > 0, "what fits is remembered for the pair"


def test_memory_that_runs_out_at_a_later_step_loses_no_row(planted_pair, monkeypatch):
    plain, steps = served(planted_pair, rows_of()), iter(range(1000))
    whole = Batch.step

    def late(batch):
        if next(steps) in (3, 9) and len(batch.rows) > 1:
            raise RuntimeError(CPU)
        return whole(batch)

    monkeypatch.setattr(generation.Batch, "step", late)
    assert served(planted_pair, rows_of()) == plain


def test_one_row_that_does_not_fit_is_told_in_one_line(planted_pair, monkeypatch):
    scarce(monkeypatch, 0, RuntimeError(CPU))
    with pytest.raises(OutOfMemory, match=r"one prompt of \d tokens; use a shorter prompt"):
        served(planted_pair, rows_of())


def test_a_promised_number_of_rows_is_never_cut(planted_pair, monkeypatch):
    scarce(monkeypatch, 3, RuntimeError(CPU))
    with pytest.raises(OutOfMemory):
        served(planted_pair, rows_of(), fixed=True)
    assert planted_pair.room.most("replies", 48) == 48


def test_another_error_passes_as_it_is(planted_pair, monkeypatch):
    scarce(monkeypatch, 3, ValueError("no such thing"))
    with pytest.raises(ValueError, match="no such thing"):
        served(planted_pair, rows_of())


def test_rows_that_the_free_memory_does_not_hold_are_measured_and_never_tried(
    planted_pair, monkeypatch
):
    from dapa.model import room

    size = row_bytes(planted_pair.student, 32, "cpu")
    monkeypatch.setattr(room, "free_memory", lambda device: int(3.5 * size / 0.7))
    admit, seen = Batch.admit, []

    def counted(batch, rows):
        seen.append(len(batch.rows) + len(rows))
        return admit(batch, rows)

    monkeypatch.setattr(Batch, "admit", counted)
    served(planted_pair, rows_of())
    assert max(seen) == 3 and planted_pair.room.fitting(planted_pair, 48, 19) == 3
    monkeypatch.setattr(room, "free_memory", lambda device: 2**40)
    assert planted_pair.room.fitting(planted_pair, 48, 19) == 48


def test_the_peak_of_tensors_is_counted_while_they_live():
    with Peak() as peak:
        a = torch.ones(1000)
        b = a * 2
        del a
        c = b + 1
        c += 1  # in place
        c.view(10, 100)
    assert (peak.most, peak.now) == (8000, 8000)


def test_a_longer_row_takes_more(planted_pair):
    sizes = [row_bytes(planted_pair.student, tokens, "cpu") for tokens in (8, 16, 32)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]


def test_parts_become_smaller_keep_their_order_and_are_remembered_by_kind(planted_pair):
    def run(rows):
        if len(rows) > 3:
            raise MemoryError
        return list(rows)

    parts = within_memory(planted_pair, list(range(10)), run, lambda row: row)
    assert sum(parts, []) == list(range(10)) and max(map(len, parts)) <= 3
    room = planted_pair.room
    assert (room.most("readings", 10), room.most("replies", 10)) == (2, 10)
    assert [len(part) for part in within_memory(planted_pair, range(4), run, int)] == [2, 2]


# -- nothing stays behind -----------------------------------------------------------------------


def test_a_batch_and_its_states_go_with_their_last_name(planted_pair):
    gc.collect()
    gc.disable()
    try:
        batch = Batch(planted_pair, Decoding(4))
        batch.admit(rows_of(3))
        batch.step()
        cache = weakref.ref(batch._kv_cache)
        keys = weakref.ref(batch._kv_cache.layers[0].keys.untyped_storage())
        del batch
        assert cache() is None and keys() is None
    finally:
        gc.enable()


def test_what_all_readers_of_a_pair_keep_stays_within_one_budget(planted_pair):
    rows = [(row.ids, row.mask) for row in rows_of()]
    ids = [row for row, _ in rows]
    alone = prefiller_for(planted_pair, ids, Optimizations())
    alone.read(rows)
    size = alone._states.size
    few = Optimizations(memory=int(2.5 * size))
    readers = [prefiller_for(planted_pair, ids, few) for _ in range(5)]
    first = readers[0].read(rows).logits
    for reader in readers[1:]:
        reader.read(rows)
        assert sum(each._states.size for each in (alone, *readers)) <= 2.5 * size
    assert not alone._states.size and readers[-1]._states.size and readers[-2]._states.size
    torch.testing.assert_close(readers[0].read(rows).logits, first)


# -- loading, and whatever nobody caught ----------------------------------------------------------


@pytest.mark.parametrize("fault", ["cpu", "python", "system"])
@pytest.mark.parametrize(
    "where", ["pair_loading.check", "pair_loading.load_weights", "pair.share_equal_tensors"]
)
def test_memory_that_runs_out_anywhere_in_a_load_is_one_line_and_the_pair_stays(
    planted_folders, monkeypatch, fault, where
):
    bench = Workbench(pair=(before := object()))

    def short(*args, **kwargs):
        raise FAULTS[fault]

    monkeypatch.setattr(f"dapa.model.{where}", short)
    spec = PairSpec(*map(str, planted_folders), dtype="float32", device="cpu")
    with pytest.raises(PairError, match=r"memory ran out .*; use lean memory, a smaller dtype"):
        bench.load(spec)
    assert bench.pair is before


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_and_a_task_tell_too_little_memory_in_one_line(fault):
    def work(told, stop):
        raise FAULTS[fault]

    task = Tasks().begin("pair", "gap", work)
    assert task.wait(30)
    for line in (task.error, str(plain_error(FAULTS[fault]))):
        assert "out of memory; use" in line and "\n" not in line
