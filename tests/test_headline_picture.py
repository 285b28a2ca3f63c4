"""Names in the headline's picture stand clear of one another."""

import re

import pytest

from dapa.core.statistics import wilson
from dapa.ui.headline import Point, plane


@pytest.mark.parametrize("across", [0.0, 0.3, 0.61, 1.0])
@pytest.mark.parametrize("refused", [0, 6, 9, 10])
def test_the_set_and_every_unit_at_one_place_are_both_read(across, refused):
    both = wilson(refused, 10)
    points = [
        Point("student", wilson(0, 10), 0.0),
        Point("found", both, across),
        Point("every", both, across, "every whole MLP"),
    ]
    names = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', str(plane(points, "moved")))
    places = [(float(x), float(y)) for x, y in names]
    assert len(places) == 3
    for i, (x, y) in enumerate(places):
        assert all(abs(x - a) > 60 or abs(y - b) >= 12 for a, b in places[:i]), places
