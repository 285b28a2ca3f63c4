"""How the page's events are wired: a law that Gradio does not keep by itself."""

from collections import defaultdict

import pytest

from dapa.ui.dashboard import Dashboard
from dapa.ui.page import build
from dapa.workbench import Workbench


@pytest.fixture(scope="module")
def wiring(toy_pair, tmp_path_factory):
    page = build(Dashboard(Workbench(tmp_path_factory.mktemp("runs"), toy_pair)))
    return page.get_config_file()


def test_no_event_has_two_handlers_that_put_off_a_second_call(wiring):
    """Gradio puts off a whole event, not one handler: two that do so call each other forever.

    A second one stands behind the first (`.then`). A state's changes are told to each by itself.
    """
    rows = [row for row in wiring["dependencies"] if row["trigger_mode"] == "always_last"]
    states = {row["id"] for row in wiring["components"] if row["type"] == "state"}
    sharing = defaultdict(set)
    for row in rows:
        for component, event in row["targets"]:
            if component is not None and component not in states:
                sharing[component, event].add(row["api_name"])
    assert len(sharing) > 20
    assert not [names for names in sharing.values() if len(names) > 1]
