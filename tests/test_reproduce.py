"""`reproduce`: pairs found, nothing to find, and missing; means, resume, and the command."""

import json
from threading import Event

import pytest

from dapa.cli import main
from dapa.core.records import Rate, SettingError
from dapa.measure.reproduce_records import PUBLISHED, PairLine, Reproduced, read_presets
from dapa.model.presets import presets
from dapa.planted.pairs import Planting, harmful_prompts, plant
from dapa.search.settings import SearchSettings
from dapa.workbench import Workbench


@pytest.fixture(scope="module")
def world(planted_folders, tmp_path_factory):
    """A preset file: a planted pair, one in which nothing is planted, and one that is missing."""
    folder = tmp_path_factory.mktemp("reproduce")
    student, teacher = map(str, planted_folders)
    other = plant(Planting(4, (0,)), seed=3).save(folder / "other")
    listed = [
        {"name": "planted", "student": student, "teacher": teacher},
        {"name": "idle", "student": teacher, "teacher": teacher},
        {"name": "second", "student": str(other[0]), "teacher": str(other[1])},
        {"name": "gone", "student": str(folder / "nowhere"), "teacher": teacher},
        {"name": "hub", "student": "some/model", "teacher": "some/other"},
    ]
    (folder / "presets.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "harmful.txt").write_text("\n".join(harmful_prompts(24)), encoding="utf-8")
    return folder


@pytest.fixture
def settings(world):
    return SearchSettings(max_new_tokens=12, prompts=str(world / "harmful.txt"))


def _chosen(world):
    return read_presets(json.loads((world / "presets.json").read_text("utf-8")), presets())


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    settings = SearchSettings(max_new_tokens=12, prompts=str(world / "harmful.txt"))
    bench = Workbench(tmp_path_factory.mktemp("runs"))
    return bench, bench.reproduce(_chosen(world), settings, dtype="float32", device="cpu")


def test_planted_sets_are_found_and_their_gain_is_paired(found):
    _, table = found
    lines = {line.name: line for line in table.lines}
    assert lines["planted"].layers == (1, 2) and lines["second"].layers == (0,)
    for name in ("planted", "second"):
        line = lines[name]
        assert line.state == "done" and line.gain.value == 1.0 and line.gain.low > 0.5
        assert line.dsr["student"].value == 0.0 and line.dsr["patched"].value == 1.0
        assert 0 < line.share < 1 and line.tests > 0 and line.p_value < 0.01
        assert line.change == pytest.approx(line.perplexity["patched"] - line.perplexity["student"])
        assert line.gpu_seconds == 0.0 < line.seconds


def test_what_cannot_be_had_is_listed_with_its_reason(found):
    _, table = found
    lines = {line.name: line for line in table.lines}
    assert [lines[n].state for n in ("gone", "hub")] == ["missing", "missing"]
    assert "nowhere" in lines["gone"].note and "some/model" in lines["hub"].note
    assert lines["idle"].state in ("nothing", "failed", "missing") and lines["idle"].note
    body = json.loads(json.dumps(table.as_dict(), allow_nan=False))
    assert {m["name"] for m in body["missing"]} >= {"gone", "hub"}
    assert body["published"] == PUBLISHED and body["complete"]


def test_the_means_are_over_pairs(found):
    _, table = found
    assert table.mean_gain.value == pytest.approx(
        sum(line.gain.value for line in table.measured) / len(table.measured)
    )
    assert table.best.gain.value == 1.0
    assert table.mean_share.n == 2


def test_nothing_found_counts_as_no_gain():
    rate = Rate(0.0, -0.1, 0.1, 10)
    done = PairLine("a", "s", "t", "done", gain=Rate(0.6, 0.4, 0.8, 10), share=0.05)
    nothing = PairLine("b", "s", "t", "nothing", "no gain", gain=rate, share=0.0)
    table = Reproduced((done, nothing, PairLine("c", "s", "t", "missing", "gated")), True)
    assert table.mean_gain.value == pytest.approx(0.3) and table.mean_gain.n == 2
    assert table.mean_share.value == 0.05, "shares are of found sets"
    assert PairLine.from_dict(json.loads(json.dumps(done.as_dict()))) == done
    assert Reproduced((), True).mean_gain is None and Reproduced((), True).best is None


def test_measured_lines_are_not_measured_again(found, world, settings, monkeypatch):
    bench, table = found

    def never(*_, **__):
        raise AssertionError("nothing is loaded twice")

    known = [p for p in _chosen(world) if p.name in ("planted", "second")]
    monkeypatch.setattr("dapa.workbench.ask.load_pair", never)
    again = bench.reproduce(known, settings, dtype="float32", device="cpu")
    assert again.lines == tuple(line for line in table.lines if line.name in ("planted", "second"))
    with pytest.raises(AssertionError):
        bench.reproduce(known, settings, dtype="float32", device="cpu", again=True)


def test_a_stopped_table_keeps_what_was_measured(world, settings, tmp_path):
    stop = Event()

    def told(what, share):
        if what.startswith("second"):
            stop.set()

    bench = Workbench(tmp_path)
    some = [p for p in _chosen(world) if p.name in ("planted", "second")]
    part = bench.reproduce(some, settings, dtype="float32", progress=told, stop=stop)
    assert not part.complete and [line.name for line in part.lines] == ["planted"]
    whole = Workbench(tmp_path).reproduce(some, settings, dtype="float32")
    assert whole.complete and whole.lines[0] == part.lines[0] and len(whole.lines) == 2


def test_the_toy_pairs_are_reproduced(tmp_path):
    chosen = [presets()["toy-gate"]]
    quick = SearchSettings(prompt_limit=12, max_new_tokens=20)
    table = Workbench(tmp_path).reproduce(chosen, quick, text="none", dtype="float32", device="cpu")
    (line,) = table.lines
    assert line.state == "done" and 10 not in line.layers and set(line.layers) <= set(range(3, 9))
    assert line.gain.value > 0.7 and line.change is None and line.dsr["teacher"].value > 0.9


def test_the_command_prints_the_published_figures_beside(capfd, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--prompts", str(world / "harmful.txt"), "--max-new-tokens", "12", "--text", "none"]
    options += ["--presets", str(world / "presets.json"), "--dtype", "float32"]
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *options, "--json", "-"])
    body = json.loads(capfd.readouterr().out)
    assert ended.value.code == 0 and body["published"]["average_gain"] == 14.41
    assert len(body["pairs"]) == 5 and body["mean_gain"]["value"] > 0
    with pytest.raises(SystemExit):
        main(["reproduce", *options])
    out = capfd.readouterr().out
    assert "+14.41" in out and "+51.39" in out and "6.26" in out and "gone: missing" in out


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not json", "not JSON"),
        ("{}", "JSON list"),
        ("[]", "JSON list"),
        ('["nobody"]', "preset 1"),
        ('[{"student": "x"}]', "preset 1"),
    ],
)
def test_a_wrong_preset_file_is_told_in_one_line(capfd, tmp_path, text, word):
    file = tmp_path / "p.json"
    file.write_text(text, encoding="utf-8")
    for name in (str(file), "nowhere.json"):
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", "--presets", name])
        out, err = capfd.readouterr()
        assert (ended.value.code, out) == (2, "") and err.count("\n") == 1
        assert (word if name == str(file) else "nowhere.json") in err
    with pytest.raises(SettingError, match="preset 1"):
        read_presets([3], {})
