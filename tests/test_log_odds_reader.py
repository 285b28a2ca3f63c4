"""Log-odds of many masks: what is shared is read once, and the numbers are the plain way's."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import masks, prompts_of_ids, random_trio

from dapa.core.records import EMPTY, Mask, SettingError, Unit
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.log_odds_reader import LogOddsReader
from dapa.model.decode.openers import find_openers
from dapa.model.decode.optimizations import PLAIN, UNHINTED

HEAD = (9, 14, 23, 40)


@settings(max_examples=10)
@given(data=st.data())
def test_shared_readings_are_the_plain_ones(trio, data):
    openers = find_openers(trio.pair)
    assert openers.nodes, "phrases stand behind the prompts, or nothing is tested"
    front = data.draw(st.sampled_from([(), HEAD]))
    ids = [(*front, *own) for own in data.draw(st.lists(prompts_of_ids(6), min_size=1, max_size=4))]
    few = [EMPTY, *data.draw(st.lists(masks(trio.pair.family), min_size=1, max_size=4))]
    few += [Mask(tuple(e for e in mask.entries if e[0].layer < 2)) for mask in few[1:]]
    plain = refusal_log_odds(trio.pair, ids, few, openers=openers)
    read = LogOddsReader(trio.pair, ids, openers, rows=data.draw(st.sampled_from([2, 5, 48])))
    if (states := read._reader._states) is not None:
        states.stride = data.draw(st.integers(1, 5), label="stride")
        states.budget = data.draw(st.sampled_from([0, 20_000, 10**9]), label="budget")
    read._pass = data.draw(st.sampled_from([0, 5, 10**6, None]), label="alone")
    places = data.draw(st.permutations(range(len(ids))))
    some = data.draw(st.integers(1, len(ids)))
    first = read(few[:2], places[:some])
    np.testing.assert_allclose(first, plain[:2][:, places[:some]], atol=2e-3)
    np.testing.assert_allclose(read(few, places), plain[:, places], atol=2e-3)
    assert read.read == len(set(few)) * len(ids)


@pytest.mark.parametrize("optimizations", [PLAIN, UNHINTED])
def test_with_sharing_off_the_numbers_stay(optimizations):
    trio = random_trio("llama")
    ids = [(*HEAD, 41, 42, 12), (*HEAD, 33), (*HEAD, 5, 6, 28)]
    few = [EMPTY, Mask.of([Unit(1, "mlp")]), Mask.of([Unit(2, "gate")])]
    read = LogOddsReader(trio.pair, ids, optimizations=optimizations)
    np.testing.assert_allclose(
        read(few, [0, 1, 2]), refusal_log_odds(trio.pair, ids, few), atol=2e-3
    )


def test_less_is_read_where_masks_begin_alike():
    trio = random_trio("llama")
    ids = [(*HEAD, 41, 42, 12), (*HEAD, 33, 6)]
    few = [EMPTY, Mask.of([Unit(2, "gate")]), Mask.of([Unit(2, "up")]), Mask.of([Unit(2, "mlp")])]
    shared, plain = (
        LogOddsReader(trio.pair, ids),
        LogOddsReader(trio.pair, ids, optimizations=PLAIN),
    )
    assert np.allclose(shared(few, [0, 1]), plain(few, [0, 1]), atol=2e-3)
    assert shared.tokens < 0.6 * plain.tokens


def test_readings_stay_small_so_that_one_goes_on_from_another_long_before():
    trio = random_trio("llama", num_hidden_layers=12)
    ids = [(*HEAD, 41, 42, 12), (*HEAD, 33, 6)]
    few = [EMPTY, *(Mask.of([Unit(layer, "mlp")]) for layer in (1, 10, 2, 11))]
    read, keeping = LogOddsReader(trio.pair, ids), LogOddsReader(trio.pair, ids)
    read._reader._states.stride, keeping._reader._states.stride = 4, 1
    per_prompt = 0.0
    for mask in few:
        before = read.tokens
        found = read([mask], [0, 1])
        np.testing.assert_allclose(found, keeping([mask], [0, 1]), atol=2e-3)
        whole = read.tokens - before
        if mask != EMPTY:
            first = min(unit.layer for unit, _ in mask.entries)
            assert whole <= per_prompt * (12 - first + first % 4) / 12 + 1e-6
        else:
            per_prompt = whole
    sizes = [each._reader._states.size for each in (read, keeping)]
    assert sizes[0] < 0.75 * sizes[1]


def test_what_was_read_is_not_read_again_and_a_stop_leaves_the_rest_open():
    trio = random_trio("llama")
    ids, heard = [(7, 9, 11), (5, 8)], []
    read = LogOddsReader(trio.pair, ids, rows=2)
    mask = Mask.of([Unit(0, "mlp")])
    first = read([EMPTY, mask], [0, 1], progress=lambda *told: heard.append(told))
    assert heard == [(2, 4), (4, 4)] and read.read == 4
    assert (read([mask, mask], [1]) == first[1, 1]).all() and read.read == 4
    stop = threading.Event()
    stop.set()
    late = read([mask, Mask.of([Unit(1, "mlp")])], [0, 1], stop=stop)
    assert (late[0] == first[1]).all() and np.isnan(late[1]).all()
    with pytest.raises(SettingError):
        read([Mask.of([Unit(9, "gate")])], [0])
