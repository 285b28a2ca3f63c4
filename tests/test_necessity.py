"""Necessity: the teacher without the found set: lost where it is needed, else kept."""

import json
from threading import Event

import pytest
import torch
from searched import AND, OR, searched

from dapa.core.records import SettingError, Unit
from dapa.measure.necessity import necessity


@pytest.fixture(scope="module")
def lost():
    return necessity(searched())


def test_the_teacher_loses_its_refusals_without_a_needed_set(lost):
    (teacher,), (found,) = lost.of("teacher"), lost.of("found")
    assert teacher.dsr.value == 1.0 and found.dsr.value == 0.0 and lost.necessary is True
    assert found.units == AND.units and found.change.high < 0 and found.p_value < 0.05
    assert lost.held_out and lost.complete and found.dsr.n == 12
    json.dumps(lost.as_dict(), allow_nan=False)


def test_as_many_other_units_lose_nothing(lost):
    controls = lost.of("control")
    assert controls
    for line in controls:
        assert not set(line.units) & set(AND.units) and len(line.units) == 2
        assert line.dsr.value == 1.0 and line.change.value == 0.0 and line.p_value == 1.0


def test_each_needed_unit_is_necessary_by_itself(lost):
    assert [line.units for line in lost.of("single")] == [(Unit(1),), (Unit(4),)]
    assert all(line.dsr.value == 0.0 for line in lost.of("single"))


def test_where_another_set_suffices_neither_is_necessary():
    job = searched(OR)
    kept = necessity(job, singles=False)
    assert kept.of("found")[0].dsr.value == 1.0 and kept.necessary is False
    gone = necessity(job, units=[Unit(1), Unit(2)], controls=0)
    assert gone.of("found")[0].dsr.value == 0.0 and gone.necessary is True


def test_the_models_are_left_as_they_were():
    pair = searched().pair
    before = [p.clone() for p in pair.teacher.parameters()]
    necessity(searched(), controls=1, singles=False)
    assert all(map(torch.equal, before, pair.teacher.parameters()))


def test_stopped_before_anything_is_measured():
    stop = Event()
    stop.set()
    none = necessity(searched(OR), units=[Unit(0)], stop=stop)
    assert not none.complete and none.necessary is None


def test_an_empty_set_is_an_error():
    with pytest.raises(SettingError, match="empty set"):
        necessity(searched(), units=[])
