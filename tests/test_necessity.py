"""Necessity: the teacher without the found set: lost where it is needed, else kept."""

import json
import re
from math import comb
from threading import Event

import pytest
import torch
from searched import AND, OR, searched

from dapa.core.records import SettingError, Unit
from dapa.measure.necessity import Necessity, _lines, necessity
from dapa.workbench.measurements.necessity import Ablated, _describe, finding


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


def test_the_found_set_is_held_against_every_control_by_a_paired_test(lost):
    from scipy.stats import binomtest

    controls = lost.of("control")
    raw = binomtest(12, 12, 0.5).pvalue  # all twelve prompts are lost with the found set alone
    for line in controls:
        assert line.beyond.value == 1.0 and line.beyond.low > 0 and line.beaten
        assert line.beyond_p == pytest.approx(min(1.0, raw * len(controls)), rel=1e-6)
    assert lost.beside == (len(controls), len(controls)) and lost.necessary is True
    assert "more than without" in finding(lost)
    body = lost.as_dict()
    assert body["controls"] == {"beaten": len(controls), "measured": len(controls)}


def test_a_set_that_loses_no_more_than_random_ones_is_not_necessary(lost):
    """The misleading null: any damage as large takes refusals out, and the found set did too."""
    found = lost.of("found")[0]
    rows = [("teacher", "teacher", (), found.dsr, found.dsr), ("found", "found", AND.units,
            found.dsr, found.dsr)]  # fmt: skip
    rows += [(f"control-{i}", "control", (Unit(0), Unit(2)), found.dsr, found.dsr) for i in (1, 2)]
    whole, none, some = [True] * 12, [False] * 12, [False] * 10 + [True] * 2
    told = Necessity(_lines(rows, [whole, none, none, some]), True, True)
    assert told.loses is True and told.necessary is False and told.beside == (0, 2)
    assert "2 of 2 random sets as large are not shown to lose less" in finding(told)
    told = Necessity(_lines(rows, [whole, none, whole, some]), True, True)
    assert told.necessary is False and told.beside == (1, 2), "every one must lose less"
    told = Necessity(_lines(rows[:3], [whole, none, whole]), True, True)
    assert told.necessary is True


def test_a_smaller_set_is_no_control():
    found = necessity(searched(), units=[Unit(i) for i in (0, 1, 3, 4)], singles=False)
    assert not found.of("control") and found.loses is True and found.necessary is None
    assert "no random set as large" in finding(found)


def test_each_needed_unit_is_necessary_by_itself(lost):
    assert [line.units for line in lost.of("single")] == [(Unit(1),), (Unit(4),)]
    assert all(line.dsr.value == 0.0 for line in lost.of("single"))


@pytest.mark.parametrize("asked", [3, 50])
def test_there_are_as_many_different_controls_as_were_asked_for_or_as_there_are(asked):
    job = searched()
    lines = necessity(job, controls=asked, singles=False).of("control")
    possible = comb(len(job.units) - len(AND.units), len(AND.units))
    assert len({line.units for line in lines}) == len(lines) == min(asked, possible)


def test_where_another_set_suffices_neither_is_necessary():
    job = searched(OR)
    kept = necessity(job, singles=False)
    assert kept.of("found")[0].dsr.value == 1.0 and kept.necessary is False
    gone = necessity(job, units=[Unit(1), Unit(2)], controls=0)
    assert gone.of("found")[0].dsr.value == 0.0 and gone.loses is True
    assert gone.necessary is None, "nothing stands beside it"


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


def test_only_a_set_whose_loss_is_sure_is_orange(lost):
    def looks(found):
        table = _describe(Ablated(found, "")).tables[0]
        return {str(row[0]).split(":")[0].split(",")[0]: row[1].marks[0][1] for row in table.rows}

    kept = necessity(searched(OR), controls=0)
    assert looks(kept)["without the found set"] == "blue", "it refuses still"
    assert looks(kept)["without every unit"] == "orange"
    assert looks(lost)["without the found set"] == "orange"
    table = _describe(Ablated(lost, "")).tables[0]
    assert table.head[-1] == "p\nagainst the found set", "beside controls a column of its own"
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert _describe(Ablated(kept, "")).tables[0].head[-1] == "p"
    names = [row[0] for row in table.rows]
    assert any(re.fullmatch(r"without every unit, \d+ in all", name) for name in names)
