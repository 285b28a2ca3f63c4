"""Files of a result: CSV that no spreadsheet runs, HTML that asks nobody outside."""

import csv
import io
import math
import re

import numpy as np
import pytest

from dapa.cli.exports import Exports
from dapa.core.records import SettingError
from dapa.figures.grid import grid, shared_top
from dapa.figures.html_page import html_page
from dapa.figures.theme import LIGHT
from dapa.writing.tables import csv_text


def a_figure():
    hovers = [["a", "b"], ["c", "d"]]
    return grid(np.array([[0.1, 0.2], [np.nan, 1.0]]), ("up", "down"), (0, 1), hovers, "x", LIGHT)


def test_csv_begins_with_its_provenance_and_neutralises_text_alone():
    rows = [("=1+1", -0.5, None), ("@x", math.nan, True), ("a,b\nc", 3, "+cmd")]
    text = csv_text(("name", "value", "more"), rows, "a pair ·\n 8 prompts")
    first, *rest = text.splitlines(keepends=True)
    assert first == "# a pair · 8 prompts\n"
    read = list(csv.reader(io.StringIO("".join(rest))))
    assert read[0] == ["name", "value", "more"]
    assert read[1:] == [["'=1+1", "-0.5", ""], ["'@x", "", "true"], ["a,b\nc", "3", "'+cmd"]]


def test_the_page_holds_plotly_once_and_escapes_every_text():
    nasty = "<script>alert(1)</script>"
    page = html_page(nasty, nasty, [(nasty, a_figure()), ("two", a_figure())], nasty)
    assert nasty not in page
    assert page.count("&lt;script&gt;alert(1)") == 7, "five on the page, one in each figure"
    assert len(page) > 3_000_000 and page.count("plotly.js v") == 1
    outside = [
        url
        for url in re.findall(
            r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?([^\"'> ]+)", page
        )
    ]
    assert not [url for url in outside if url.startswith(("http", "//"))]
    assert "default-src 'none'" in page and 'id="provenance"' in page


def test_panes_that_are_compared_share_one_end_of_the_scale():
    assert shared_top(np.array([1.0, np.nan]), np.array([-3.0])) == 3.0
    assert shared_top(np.array([np.nan])) == 1.0


@pytest.mark.parametrize(
    ("targets", "word"),
    [
        ((None, "-", None), "--html"),
        (("-", None, "-"), "both"),
        (("a.x", "a.x", None), "twice"),
        ((None, "no/such/place.html", None), "place.html"),
        ((None, None, "no/such/place.csv"), "place.csv"),
    ],
)
def test_a_target_that_cannot_be_written_is_told_before_any_work(targets, word):
    with pytest.raises(SettingError, match=word):
        Exports(*targets)


def test_every_format_is_written_where_it_was_asked_for(tmp_path, capsys):
    html, table = tmp_path / "a.html", tmp_path / "a.csv"
    exports = Exports("-", str(html), str(table))
    exports.result(
        {"x": 1},
        "title",
        "from here",
        (("a",), [(1,)]),
        lambda: [("one", a_figure())],
        "for people",
    )
    assert capsys.readouterr().out == '{\n  "x": 1,\n  "provenance": "from here"\n}\n'
    assert table.read_text() == "# from here\na\n1\n" and "from here" in html.read_text()
    Exports(None, None, "-").result({}, "t", "from", (("a",), [(2,)]), list, "for people")
    assert capsys.readouterr().out == "# from\na\n2\n"
    Exports(None, None, None).result({}, "t", "from", (("a",), [(2,)]), list, "for people")
    assert capsys.readouterr().out == "for people\n"
