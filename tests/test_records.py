"""Units and masks are values: one canonical order, one hash, the same after a copy."""

import pickle
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapa.core.records import Mask, SettingError, Unit

UNITS = st.builds(
    Unit,
    st.integers(0, 5),
    st.sampled_from(["gate", "mlp", "up"]),
    st.none() | st.tuples(st.integers(0, 9), st.integers(10, 19)),
)
ENTRIES = st.lists(st.tuples(UNITS, st.sampled_from([0.0, 0.25, 1.0, 1])), max_size=8)


@given(ENTRIES, st.randoms(use_true_random=False))
def test_a_mask_has_one_order_and_one_hash_however_it_was_written(entries, random):
    last = {unit: strength for unit, strength in entries if strength > 0}
    kept = list(last.items())  # of a unit named twice, the last word above 0 counts
    mixed = random.sample(kept, len(kept))
    one, two = Mask(tuple(entries)), Mask(tuple(mixed))
    assert one == two and hash(one) == hash(two)
    assert one.entries == Mask(one.entries).entries
    orders = [(unit.layer, unit.kind, unit.block or ()) for unit in one.units]
    assert orders == sorted(orders) and len(set(orders)) == len(orders)
    assert all(strength > 0 and isinstance(strength, float) for _, strength in one.entries)
    assert Mask.parse(one.key) == one


@given(ENTRIES)
def test_copies_are_equal_and_hash_alike(entries):
    mask = Mask(tuple(entries))
    for copy in (deepcopy(mask), pickle.loads(pickle.dumps(mask))):
        assert copy == mask and hash(copy) == hash(mask)
        assert dict.fromkeys(copy.units) == dict.fromkeys(mask.units)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_outside_0_to_1_are_refused_wherever_they_stand(strength):
    with pytest.raises(SettingError, match="outside 0 to 1"):
        Mask(((Unit(0), strength),))
    with pytest.raises(SettingError, match="outside 0 to 1"):
        Mask(((Unit(0), 1.0), (Unit(1), strength), (Unit(2), 1.0)))
