"""Layer x category: which removal loses which kind of request."""

import json

import pytest
from searched import prompt_set, searched

from dapa.core.records import SettingError, Unit
from dapa.measure.categories import UNNAMED, categories, category_map
from dapa.search.job import SearchJob
from dapa.workbench.measurements.categories import finding


def test_a_layer_that_carries_one_category_loses_that_one_alone():
    names = ["fraud"] * 12 + ["theft"] * 12
    less = [False] * 12 + [True] * 12
    told = category_map(names, [True] * 24, {Unit(3): less, Unit(7): [False] * 24})
    assert told.carried(Unit(3)) == ("fraud",) and told.carried(Unit(7)) == ("fraud", "theft")
    cell = told.cell(Unit(3), "fraud")
    assert cell.dsr.value == 0.0 and cell.lost.value == 1.0 and cell.lost.low > 0
    assert told.cell(Unit(3), "theft").lost.value == 0.0
    assert told.found["theft"].n == 12


def test_layers_that_carry_the_same_are_told_together():
    names = ["fraud"] * 12 + ["theft"] * 12
    fraud, theft = [False] * 12 + [True] * 12, [True] * 12 + [False] * 12
    without = {Unit(3): fraud, Unit(4): theft, Unit(7): fraud, Unit(8): [True] * 24}
    told = finding(category_map(names, [True] * 24, without))
    assert told.startswith("Layers 3, 7 carry fraud; layer 4 carries theft (clear after")


def test_a_loss_that_chance_explains_is_not_carried():
    told = category_map(["fraud"] * 8, [True] * 8, {Unit(1): [False] + [True] * 7})
    assert told.carried(Unit(1)) == () and told.cell(Unit(1), "fraud").lost.low < 0


def test_the_map_of_a_finished_search_costs_nothing():
    job = searched()
    before = job.store._connection().execute("select count(*) from verdicts").fetchone()
    told = categories(job)
    assert job.store._connection().execute("select count(*) from verdicts").fetchone() == before
    assert told.categories == ("fraud", "weapons", UNNAMED) and told.units == job.report.units
    assert all(cell.dsr.value == 0.0 and cell.lost.value == 1.0 for cell in told.cells)
    json.dumps(told.as_dict(), allow_nan=False)


def test_without_a_certificate_there_is_no_map():
    job = searched()
    fresh = SearchJob(job.pair, prompt_set(), job.settings, job.store)
    with pytest.raises(SettingError, match="1-minimal"):
        categories(fresh)
