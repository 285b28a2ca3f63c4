"""The commands beside a search, run as a user runs them, on planted folders."""

import json
from contextlib import contextmanager

import pytest

from dapa.cli import main
from dapa.cli.exports import Exports
from dapa.planted.pairs import harmful_prompts, harmless_prompts


@pytest.fixture(scope="module")
def asked(planted_folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    files = {"harmful": harmful_prompts(20), "harmless": harmless_prompts(6)}
    for name, texts in files.items():
        (folder / f"{name}.txt").write_text("\n".join(texts))
    student, teacher = planted_folders
    return [
        "--student", str(student), "--teacher", str(teacher), "--max-new-tokens", "12",
        "--prompts", str(folder / "harmful.txt"), "--run-dir", str(folder / "runs"), "--json", "-",
    ], ["--harmless", str(folder / "harmless.txt")]  # fmt: skip


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


def test_baselines_with_shams(asked, capsys):
    body = run(capsys, "baselines", *asked[0], *asked[1])
    rows = {row["name"]: row for row in body["rows"]}
    assert rows["found"]["layers"] == [1, 2] and rows["found"]["held_out"]["value"] == 1.0
    assert rows["found"]["over_refusal"]["value"] == 0.0 and body["complete"]
    assert body["placebos"]["effects"] == []


def test_shams_alone(asked, capsys):
    body = run(capsys, "placebos", *asked[0], "--draws", "1")
    assert body["run"] and body["effects"] == [] and body["complete"]
    assert {row["name"] for row in body["rows"]} >= {"student", "found", "permuted", "flipped"}


def test_side_effects_of_the_found_set(asked, capsys):
    body = run(capsys, "side-effects", *asked[0], *asked[1], "--most", "4")
    rates = {name: model["over_refusal"] for name, model in body["models"].items()}
    assert rates["patched"]["value"] == 0.0 and {rate["n"] for rate in rates.values()} == {4}


def test_a_table_and_a_page_are_written_beside_the_sentence(asked, capsys, tmp_path):
    page, sheet = tmp_path / "dose.html", tmp_path / "dose.csv"
    options = [*asked[0][:-2], "--layers", "1,2", "--strengths", "0,1", "--csv", str(sheet)]
    with pytest.raises(SystemExit) as ended:
        main(["dose", *options, "--html", str(page)])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "the given set (layers 1, 2) refuses 100" in told
    assert "incoherent, sham" in told and "<figcaption>Strength against DSR" in page.read_text()
    origin, head, *rows = sheet.read_text().splitlines()
    assert origin.startswith("# ") and head.startswith("curve,strength,dsr") and len(rows) == 4


@pytest.mark.parametrize("command", ["categories", "pareto", "necessity", "placebos"])
def test_a_measurement_that_is_stopped_ends_with_130_and_what_there_is(
    asked, capsys, monkeypatch, tmp_path, command
):
    @contextmanager
    def stopped(self):
        self._stop.set()
        yield self._stop

    monkeypatch.setattr(Exports, "stoppable", stopped)
    with pytest.raises(SystemExit) as ended:
        main([command, *asked[0][:-2], "--run-dir", str(tmp_path), "--csv", "-"])
    out, err = capsys.readouterr()
    assert ended.value.code == 130 and "Traceback" not in err
    assert out == "" or out.startswith("# ")


def test_stability(asked, capsys):
    body = run(capsys, "stability", *asked[0], "--orders", "2", "--bootstraps", "2")
    assert body["sets"] == [{"units": ["1.gate", "2.gate"], "count": 4}]
    assert body["alternatives"] == [] and body["jaccard"] == 1.0


def test_necessity(asked, capsys):
    body = run(capsys, "necessity", *asked[0], "--controls", "1")
    assert body["necessary"] is True


def test_categories(asked, capsys):
    body = run(capsys, "categories", *asked[0])
    assert body["units"] == ["1.gate", "2.gate"] and body["categories"] == ["uncategorised"]
    assert all(cell["dsr"]["value"] == 0.0 and cell["p_value"] < 0.05 for cell in body["cells"])


def test_pareto_weighs_refusals_size_and_utility(asked, capsys):
    points = run(capsys, "pareto", *asked[0], *asked[1])["points"]
    front = [point for point in points if point["on_front"]]
    assert [] in [point["units"] for point in front]  # the student costs nothing
    assert ["1.gate", "2.gate"] in [point["units"] for point in front]
    assert all(point["utility"] >= 0 for point in points) and len(front) < len(points)


def test_runs_compare(asked, capsys):
    ids = [
        run(capsys, "search", *asked[0], "--algorithm", name)["run"] for name in ("bisect", "ddmin")
    ]
    place = asked[0][asked[0].index("--run-dir") :]
    body = run(capsys, "runs", "compare", *ids, *place)
    assert body["settings"] == {"algorithm": ["bisect", "ddmin"]}
    assert body["units"]["both"] == ["1.gate", "2.gate"] and body["units"]["jaccard"] == 1.0
    assert body["intervals_apart"] is False and body["one_minimal"] == [True, True]
    assert body["dsr"]["held_out"][0] == body["dsr"]["held_out"][1]
    with pytest.raises(SystemExit) as ended:
        main(["runs", "compare", ids[0], "nothing", *place])
    assert ended.value.code == 2 and "no run is called" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["runs", "compare", *ids, *place[:-2]])
    assert "overlap" in capsys.readouterr().out
