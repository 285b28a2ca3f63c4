"""A table that was stopped early says that its unfinished rows are no fair sample."""

from types import SimpleNamespace

import pytest

from dapa.ui.tabs.runs import evaluated


@pytest.mark.parametrize("complete", [True, False])
def test_an_unfinished_row_is_told_to_be_no_fair_sample(complete):
    """Replies come in the order in which they end: 13 short ones stood beside 7 long ones."""
    rate = {"value": 1.0, "low": 0.65, "high": 1.0, "n": 7}
    result = {"models": {"student": {"dsr": rate}}, "judge": "rules/6", "complete": complete}
    run = SimpleNamespace(id="r", result=result, settings={}, identity={}, kind="evaluation")
    assert ("short ones above all" in evaluated.draw(run)) != complete
