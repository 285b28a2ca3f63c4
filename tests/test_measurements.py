"""Every measurement in the table has a command, runs on a pair, and says itself on a page.

Nothing here names one: a new measurement is tested by being in the table.
"""

import csv
import json
import re
import subprocess
import sys

import pytest

from dapa.cli import main
from dapa.cli.measuring import measuring
from dapa.core.measurement import Call, Dots, Interval, Shown, Table
from dapa.core.rates import Rate
from dapa.core.records import Prompt, SettingError, Unit
from dapa.core.settings import described, presets
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.prompts.sets import PromptSet
from dapa.ui.measurements.html import drawn
from dapa.workbench import Workbench
from dapa.workbench.keeping import _plain
from dapa.workbench.measurements import measurements
from dapa.workbench.measurements.baselines import MARKS

TABLE = {name: measurements[name] for name in measurements}
COMMANDS = {one.command or name: one for name, one in TABLE.items() if one.command != "-"}
OF_PAIR = [name for name, one in TABLE.items() if one.of != "search"]
NASTY = "<script>alert('x')</script> & <b>bold</b>"
FEW = 8


@pytest.fixture(scope="module")
def options(planted_folders, tmp_path_factory):
    """The planted pair's folders, and prompts in its own words, twin by twin."""
    file = tmp_path_factory.mktemp("measurements") / "twins.csv"
    rows = zip(harmful_prompts(24), harmless_prompts(24), strict=True)
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("prompt", "twin"), *rows])
    student, teacher = map(str, planted_folders)
    return ["--student", student, "--teacher", teacher], file


@pytest.fixture
def spec(planted_folders):
    """The planted pair's files."""
    return Workbench.spec(None, *map(str, planted_folders))


@pytest.fixture
def bench(planted_pair, tmp_path):
    """A workbench whose sets are in the planted models' words, twin by twin."""
    made = Workbench(tmp_path / "runs", planted_pair)
    bad, good = harmful_prompts(24), harmless_prompts(24)
    sets = {
        "harmful": [Prompt(a, twin=b) for a, b in zip(bad, good, strict=True)],
        "harmless": [Prompt(text) for text in good],
    }
    made.prompts = lambda source=None, role="harmful", column=None: PromptSet(
        "own", role, tuple(sets[role])
    )
    return made


def test_the_table_of_measurements_needs_no_model_library():
    heavy = "{'torch', 'transformers', 'plotly'} & {*sys.modules}"
    code = f"import sys, dapa.workbench.measurements; assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_measurement_has_one_command_and_no_two_share_a_name():
    names = [name for name, _ in measuring()]
    assert names == list(COMMANDS)
    assert len(names) == sum(one.command != "-" for one in TABLE.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_settings(name, capfd):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    told = capfd.readouterr().out
    assert ended.value.code == 0 and "--json" in told and "--html" in told and "--csv" in told
    for field, one in described(COMMANDS[name].settings).items():
        if one.flag != "-":
            assert (one.flag or f"--{field.replace('_', '-')}") in told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_measures_writes_and_says(name, options, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair, file = options
    one, given = COMMANDS[name], list(pair)
    fields = described(one.settings)
    if "prompts" in fields or one.of == "search":
        given += ["--prompts", str(file)]
    if "prompt_limit" in fields:
        given += ["--prompt-limit", str(FEW)]
    if one.of == "prompt":
        given += ["--prompt", harmful_prompts(1)[0]]
    if one.of == "search":
        given += ["--max-new-tokens", "12"]
    with pytest.raises(SystemExit) as ended:
        main([name, *given, "--json", "a.json", "--html", "a.html", "--csv", "a.csv"])
    out, err = capfd.readouterr()
    assert ended.value.code == 0, err
    assert out == "" and err.strip(), "for people, beside the files"
    origin, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert json.loads((tmp_path / "a.json").read_text())["provenance"] == origin[2:]
    assert len(list(csv.DictReader(rows))) > 0
    page = (tmp_path / "a.html").read_text()
    assert page.count("<figcaption>") >= (one.figures is not None)


@pytest.mark.parametrize("name", OF_PAIR)
def test_every_measurement_of_a_pair_is_shown_with_what_its_form_starts_with(name, bench, spec):
    one = measurements[name]
    values = presets(one.settings)
    if "prompt_limit" in values:
        values["prompt_limit"] = FEW
    prompt = {"prompt": harmful_prompts(1)[0]} if one.of == "prompt" else {}
    settings = one.settings.read({**values, **prompt})
    found = one.run(Call(bench, settings, spec=spec))
    pair = spec if one.of == "files" else bench.pair.spec
    assert pair.title in found.origin
    page = drawn(one.describe(found.record))
    assert page.startswith("<p ") and not re.search(r"\bnan\b", page)
    json.dumps(found.record.as_dict(), allow_nan=False)
    head, rows = found.record.table()
    assert rows and all(len(row) == len(head) for row in rows)
    for dark in (False, True) if one.figures is not None else ():
        captions = [caption for caption, _ in one.figures(found.record, dark)]
        assert len(set(captions)) == len(captions) >= 1


@pytest.mark.parametrize("name", OF_PAIR)
def test_a_measurement_that_is_stopped_at_once_says_so_or_shows_what_there_is(name, bench, spec):
    one = measurements[name]
    if one.of == "prompt":
        return
    call = Call(bench, one.settings.read(presets(one.settings)), spec=spec)
    call.stop.set()
    found = one.run(call)
    assert not re.search(r"\bnan\b", drawn(one.describe(found.record)))
    json.dumps(found.record.as_dict(), allow_nan=False)
    if one.figures is not None:
        one.figures(found.record, False)


def test_python_measures_by_name_with_the_same_settings(bench):
    found = bench.measure("gradients", prompt_limit=FEW, true_flips=False, neurons=2)
    assert {str(unit) for unit in found.record.found.ranked[:2]} == {"1.gate", "2.gate"}
    assert f"{FEW} prompts" in found.origin
    with pytest.raises(SettingError, match="'knee' is not a measurement"):
        bench.measure("knee")
    with pytest.raises(SettingError, match="points is -1|points on the path is -1"):
        bench.measure("gradients", points=-1)


def test_a_pages_words_are_escaped_whatever_they_are():
    rate = Rate(0.5, 0.25, 0.75, 8)
    dots = Dots(((rate, "blue", NASTY),), target=0.9)
    cells = (NASTY, rate, dots, Interval(1.0, 0.5, 1.5), True, None, 1234, 0.12345, Unit(3))
    told = Shown(
        NASTY,
        (Table([f"{NASTY}\n{NASTY}"] * len(cells), [cells], NASTY, NASTY, sortable=True),),
        (NASTY,),
        (NASTY,),
    )
    page = drawn(told)
    assert "<script" not in page and "<b>bold" not in page
    for word in ("1,234", "0.123", "layer 3", "[+0.50, +1.50]", "badge yes", 'class="scale"'):
        assert word in page


def test_a_table_that_a_picture_shows_stays_off_the_page_and_two_short_ones_stand_side_by_side():
    one = Table(("a", "b"), [("x", 1), ("y", None)])
    hidden = Table(("secret",), [("grid",)], drawn=True)
    page = drawn(Shown("found", (one, hidden, one)))
    assert "secret" not in page and page.count('class="two uneven"') == 1
    assert page.count('<td class="num">1</td>') == 2 and "–" in page
    assert "two uneven" not in drawn(Shown("found", (one,)))


def test_a_map_looks_where_it_is_told_and_subtracts_only_from_harmful_prompts():
    settings = measurements["divergence"].settings
    assert settings(position="token", token=-2).place == -2 and settings(position="5").place == "5"
    assert settings(contrast=True).contrasts and settings(harmless="x").contrasts
    assert not settings(contrast=True, role="borderline").contrasts and not settings().contrasts
    with pytest.raises(SettingError, match=r"\(metric\) 'knee' does not exist"):
        settings(metric="knee")


def test_a_cell_has_no_exponent_and_nothing_has_no_sign():
    cells = (1e-05, -1e-05, 0.00042, 1_234_567.0, Interval(-0.001, -0.24, 0.24), Interval(-1.0))
    table = Table([*map(str, range(6))], [cells])
    page = drawn(Shown("", (table,)))
    for kept in (page, *_plain(table)["rows"][0]):
        assert not re.search(r"\de[+\-−]?\d|[+\-−]0\.00\b|\[-", kept)
    for word in ("&lt; 0.0001", "0.00042", "1,234,567", "<b>0.00</b>", "[−0.24, +0.24]", "−1.00"):
        assert word in page
    assert _plain(table)["rows"][0][4:] == ["0.00 [−0.24, +0.24]", "−1.00"]
    assert Interval(3, 2, 4, ".0f").text == "3 [2, 4]"


def test_the_n_of_a_column_is_said_once_in_a_report():
    rates = [(Rate(0.5, 0.2, 0.8, 4),), (Rate(1.0, 0.5, 1.0, 4),)]
    assert _plain(Table(("other orders\nn = 4",), rates))["head"] == ["other orders, n = 4"]
    assert _plain(Table(("DSR",), rates))["head"] == ["DSR, n = 4"]


def test_a_wide_table_with_a_scale_stands_alone():
    rate = Rate(0.5, 0.25, 0.75, 8)
    wide = Table(tuple("abcde"), [("x", Dots(((rate, "blue", ""),)), rate, rate, True)])
    short = Table(("set", "times"), [("y", 1)])
    assert "two uneven" not in drawn(Shown("", (wide, short)))
    assert "two uneven" in drawn(Shown("", (short, short)))


def test_a_report_writes_all_rates_of_a_table_alike_and_explains_no_marks_that_it_lacks():
    told = _plain(
        Table(
            ("way", f"DSR, 0 to 1\n{MARKS}", "dsr", "tokens"),
            [
                ("a", Dots(()), Rate(0.5, 0.4, 0.6, 8), 25929),
                ("b", Dots(()), Rate(0.5, 0.4, 0.6, 9), None),
            ],
        )
    )
    assert MARKS not in str(told) and told["rows"][0][-1] == "25,929"
    assert told["rows"][1][1].replace("\u202f", " ") == "50 % [40, 60], n = 9"
