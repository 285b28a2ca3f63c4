"""What is measured of a finished search, as records: words, tables, figures and files alike."""

import json
import re
import threading
from dataclasses import replace

import pytest
from searched import HARMLESS, prompt_set, searched

from dapa.core.errors import SettingError
from dapa.core.masks import Mask, Unit
from dapa.core.measurement import Call, Dots, Interval, measurements
from dapa.core.rates import Rate
from dapa.core.settings import described
from dapa.prompts.sets import PromptSet
from dapa.workbench import SearchSettings, Workbench
from dapa.workbench import measurements as _fills  # noqa: F401
from dapa.workbench.measurements.dose import DoseSettings
from dapa.workbench.measurements.found_pairs import paired_units
from dapa.writing.tables import csv_text

NAMES = [name for name in measurements if measurements[name].of == "search"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    job = searched()
    made = Workbench(tmp_path_factory.mktemp("runs"), job.pair)
    made.__dict__["store"] = job.store
    sets = {"harmful": prompt_set(), "harmless": PromptSet("twins", "harmless", HARMLESS)}
    made.prompts = lambda source=None, role="harmful", column=None: sets[role]
    made.sets = lambda: dict.fromkeys(sets)
    return made


def call(bench, name, told=lambda *_: None, stop=None, job=None, **settings):
    chosen = measurements[name].settings(**settings)
    return Call(bench, chosen, told, stop or threading.Event(), job=job or searched())


@pytest.fixture(scope="module")
def records(bench):
    """Every measurement of one planted search, made once."""
    told = []
    found = {
        name: measurements[name].measure(call(bench, name, lambda *a: told.append(a)))
        for name in NAMES
    }
    assert told and all(share is None or 0 <= share <= 1 for _, share in told)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_told_with_intervals_in_tables_that_close(records, name):
    shown = measurements[name].describe(records[name])
    assert shown.finding.endswith(".") and shown.tables
    for table in shown.tables:
        assert table.rows and {len(row) for row in table.rows} == {len(table.head)}
        assert all(row < len(table.rows) for row in table.strong)
        assert len(table.counts) == len(table.head)
    cells = [cell for table in shown.tables for row in table.rows for cell in row]
    assert any(isinstance(cell, (Rate, Interval)) for cell in cells)
    drawn = [mark for cell in cells if isinstance(cell, Dots) for mark in cell.marks]
    assert all(look in ("blue", "orange", "grey", "open") for _, look, _ in drawn)
    words = [shown.finding, *shown.notes, *shown.remarks]
    assert not any("<" in word and ">" in word for word in words), "plain text, no markup"


@pytest.mark.parametrize("name", NAMES)
def test_a_record_goes_to_json_and_to_csv_under_its_searchs_name(records, name):
    record = records[name]
    body = json.loads(json.dumps(record.as_dict(), allow_nan=False))
    assert body["run"] == searched().id and searched().id in record.provenance
    head, rows = record.table()
    assert rows and {len(row) for row in rows} == {len(head)} and len(set(head)) == len(head)
    assert csv_text(head, rows, record.provenance).startswith("# ")


@pytest.mark.parametrize("name", [name for name in NAMES if measurements[name].figures])
@pytest.mark.parametrize("dark", [False, True])
def test_a_records_figures_fit_the_page(records, name, dark):
    for caption, figure in measurements[name].figures(records[name], dark):
        assert caption and figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
        json.loads(figure.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_says_what_it_is_and_every_setting_what_it_means(name):
    one = measurements[name]
    assert all((one.title, one.heading, one.asks, one.how)) and one.asks[0].isupper()
    for setting in described(one.settings).values():
        assert setting.label and setting.help


def test_what_was_stopped_is_told_all_the_same(bench):
    stop = threading.Event()

    def told(what, share):
        stop.set()

    for name in ("baselines", "placebos", "stability", "necessity", "dose"):
        stop.clear()
        record = measurements[name].measure(call(bench, name, told, stop))
        assert not record.found.complete
        assert measurements[name].describe(record).finding.endswith(".")
        json.dumps(record.as_dict(), allow_nan=False)


def test_shams_stand_beside_baselines_unless_they_are_left_out(bench, records):
    assert records["baselines"].as_dict()["placebos"]["complete"]
    assert [t.kind for t in measurements["baselines"].describe(records["baselines"]).tables] == [
        "rivals", "rivals",
    ]  # fmt: skip
    told = measurements["baselines"].describe(records["baselines"])
    assert "as many as the search took" in told.notes[0]
    alone = measurements["baselines"].measure(call(bench, "baselines", shams=False, tests=2))
    assert "could spend 2 tests. " in measurements["baselines"].describe(alone).notes[0]
    assert alone.shams is None and "placebos" not in alone.as_dict()
    assert len(measurements["baselines"].describe(alone).tables) == 1
    assert not any(row.role == "placebo" for row in alone.rows)


def test_a_given_set_is_dosed_without_a_search(bench):
    mask = Mask.of([Unit(1), Unit(4)])
    asked = SearchSettings(max_new_tokens=12)
    given = Call(
        bench, DoseSettings(strengths="0,1"), lambda *_: None, threading.Event(), mask=mask,
        search=asked,
    )  # fmt: skip
    record = measurements["dose"].measure(given)
    assert "run" not in record.as_dict() and record.as_dict()["layers"] == [1, 4]
    shown = measurements["dose"].describe(record)
    assert "the given set (layers 1, 4) refuses 100" in shown.finding
    assert "On held-out prompts" in shown.notes[0] and len(shown.tables[0].rows) == 2


@pytest.mark.parametrize(
    "wrong, said",
    [({"strengths": "a,b"}, "no numbers"), ({"strengths": "0,1.5"}, "outside 0 to 1"),
     ({"sham": "donor"}, "permuted"), ({"strengths": "nan"}, "outside")],
)  # fmt: skip
def test_a_dose_of_nothing_that_could_be_is_refused_before_any_work(wrong, said):
    with pytest.raises(SettingError, match=said):
        DoseSettings(**wrong)


def test_pareto_tells_the_front_and_on_request_every_set(records):
    front = measurements["pareto"].describe(records["pareto"]).tables[0]
    every = measurements["pareto"].describe(replace(records["pareto"], every=True)).tables[0]
    points = records["pareto"].found
    assert len(front.rows) == sum(p.on_front for p in points) < len(every.rows) == len(points)
    assert sum(str(row[0]).startswith("■") for row in front.rows) <= 1


def test_a_column_says_its_n_once_where_all_its_rates_share_it(records):
    table = measurements["necessity"].describe(records["necessity"]).tables[0]
    held = len(searched().held_out)
    assert table.counts[table.head.index("DSR")] == held and table.counts[0] is None
    rest = [None] * (len(table.head) - 3)
    uneven = replace(table, rows=[*table.rows, ("x", Dots(()), Rate(0, 0, 1, 3), *rest)])
    assert uneven.counts[table.head.index("DSR")] is None


def test_pairs_of_many_units_are_those_of_the_found_set():
    job = searched()
    assert paired_units(job) == job.units

    class Many:
        units = tuple(Unit(i) for i in range(40))
        report = job.report

    assert paired_units(Many) == job.report.units
    Many.report = None
    assert measurements["found-pairs"].refuses(Many)


def test_an_uncertified_set_is_refused_with_what_to_do():
    job = searched()

    class Stopped:
        report = replace(job.report, one_minimal=False)

    assert "search to the end" in measurements["categories"].refuses(Stopped)
    assert measurements["categories"].refuses(job) == ""


def test_findings_name_the_found_layers(records):
    for name, words in {
        "stability": "end with the same set",
        "necessity": "is necessary",
        "dose": "layers 1, 4",
        "pareto": "No set that was judged in full refuses as much",
        "placebos": "raises refusals clearly",
    }.items():
        assert words in measurements[name].describe(records[name]).finding
    assert re.search(r"\[\d", measurements["dose"].describe(records["dose"]).finding)


def test_what_costs_much_says_how_much_before_it_starts():
    import gradio as gr

    from dapa.ui.tabs.search import closer

    with gr.Blocks():
        parts = closer.build()
    asked = parts.asked("chance", {})
    line = measurements["chance"].cost(searched(), asked)
    page = closer._panel("chance", None, line)
    assert "whole replies" in page and 'data-do="again"' in page
    assert 'data-do="again"' not in closer._panel("dose", None)
