"""The table of growth: exponents, parts and the work that they are held against."""

from dataclasses import replace

import pytest

from dapa.bench import growth
from dapa.bench.growth import GrowthPoint, exponent, lines, measured, rows, size_of

SMALL = {"prompts": 8, "layers": 4, "width": 192}


def points(power):
    base = GrowthPoint("prompts", 1, 1.0, 0.5, 1e9, 10, 20, 300)
    return [
        replace(base, at=n, seconds=0.5 * n + 0.5 * n**power, inside=0.5 * n, flop=1e9 * n)
        for n in (64, 128, 256)
    ]


def test_an_exponent_is_the_power_of_the_law():
    assert exponent([64, 128, 256], [3 * n**1.5 for n in (64, 128, 256)]) == pytest.approx(1.5)


def test_a_part_that_grows_faster_than_the_work_misses_the_goal():
    found = {row.id: row for row in rows(points(1.5))}
    assert found["growth-prompts-outside"].passed is False
    assert found["growth-prompts-inside"].passed is True
    assert all(row.passed for row in rows(points(1.0)))


def test_the_table_has_every_point_and_an_exponent_an_axis():
    told = lines(points(1.0))
    assert len(told) == 1 + 3 + 1 and "exponent" in told[-1] and told[-1].split()[2] == "1.00"


def test_searches_are_run_once_a_point_and_the_base_once_in_all(monkeypatch):
    ran = []
    real = growth.point

    def counted(axis, at, base):
        ran.append((axis, at))
        return real(axis, at, base)

    monkeypatch.setattr(growth, "point", counted)
    found = measured({"prompts": (8, 12), "layers": (4, 6)}, SMALL)
    assert ran == [("prompts", 8), ("prompts", 12), ("layers", 6)] and len(found) == 4
    assert all(0 < one.inside < one.seconds and one.flop > 0 for one in found)
    more = [one for one in found if one.axis == "layers"]
    assert more[1].flop > more[0].flop and more[0].replies > 0


def test_models_keep_their_proportions():
    size = size_of(64, 8, 576)
    assert size.shape.neurons == 1536 and size.shape.heads == 3 * size.shape.kv_heads
