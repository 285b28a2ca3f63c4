"""What is measured beside a run stays with it, its report tells it; a stored table is itself."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from evaluated import PAIR, SETS, SETTINGS, table_in
from searched import planted_pair, searched
from typer.main import get_command

from dapa.cli.app import app
from dapa.core.measurement import Call
from dapa.core.records import SettingError, StoreError
from dapa.measure.evaluation import HELD_OUT_SAMPLE
from dapa.measure.reread import stored_evaluation
from dapa.measure.run_evaluation import run_evaluation
from dapa.search.settings import SearchSettings
from dapa.share.folder import new_folder, put
from dapa.share.report import evidence_of_run, report_page
from dapa.share.story import _others, story_of
from dapa.store.runs import Store, kept_beside
from dapa.workbench import ExportSettings, Workbench
from dapa.workbench.measurements import measurements
from dapa.writing.claims import FEWER


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A copy of a finished search, with two measurements beside it."""
    job, folder = searched(), tmp_path_factory.mktemp("beside") / "runs"
    shutil.copytree(job.store.folder, folder)
    bench = Workbench(folder, planted_pair())
    for name in ("necessity", "pareto"):
        one = measurements[name]
        bench.keep(job.id, name, one.run(Call(bench, one.settings(), job=job)))
    return bench


def test_a_report_tells_what_was_measured_beside_its_run(bench):
    run = searched().id
    told = kept_beside(bench.store, run)
    page = report_page(bench.store, evidence_of_run(bench.store, run))
    for name in ("necessity", "pareto"):
        assert measurements[name].heading in page
        assert told[name]["finding"].split(",")[0].split("’")[0][:20] in page
    assert told["pareto"]["pictures"] and "Measured beside it, told below: " in page


def test_the_story_tells_what_speaks_against_the_set_before_any_table(bench, tmp_path):
    shutil.copytree(bench.store.folder, tmp_path / "runs")
    store, run = Store(tmp_path / "runs"), searched().id
    words = {"title": "T", "how": "", "origin": "", "tables": [], "pictures": []}
    told = {
        "stability": ("Found again?", "Ten orders end with six sets.", [f"{FEWER}: also layer 3."]),
        "baselines": ("Beside simpler ones", "Not shown to be special.", []),
        "chance": ("At random?", "One random set in three does as well.", []),
    }
    for name, (heading, finding, notes) in told.items():
        body = {**words, "heading": heading, "finding": finding, "notes": notes}
        store.rate(f"beside {run}", name, body)
    story = story_of(evidence_of_run(store, run), store)
    assert "Found again? Ten orders end with six sets." in story.sure
    assert "At random? One random set in three does as well." in story.sure
    assert {f"{FEWER}: also layer 3.", "Not shown to be special."} <= set(story.tried)


def test_markup_in_what_was_measured_stays_text(bench, tmp_path):
    shutil.copytree(bench.store.folder, tmp_path / "runs")
    store, run, evil = Store(tmp_path / "runs"), searched().id, "<img src=x onerror=alert(1)>"
    table = {"title": evil, "about": evil, "head": [evil], "rows": [[evil]]}
    words = dict.fromkeys(("title", "heading", "how", "origin", "finding"), evil)
    body = {**words, "notes": [evil], "tables": [table], "pictures": []}
    store.rate(f"beside {run}", "evil", body)
    page = report_page(store, evidence_of_run(store, run))
    assert "<img" not in page.partition("<script")[0] and "&lt;img src=x" in page


def test_it_goes_with_its_run_and_when_the_run_is_begun_anew(bench, tmp_path):
    run = searched().id
    for i, forget in enumerate((Store.delete, Store.reopen)):
        shutil.copytree(bench.store.folder, tmp_path / str(i))
        store = Store(tmp_path / str(i))
        assert kept_beside(store, run)
        forget(store, run)
        assert not kept_beside(store, run)


def test_a_stored_table_is_the_one_that_was_measured(tmp_path):
    table = table_in(tmp_path)
    store = Store(tmp_path)
    again = stored_evaluation(store, table.run)
    assert again.total == table.total == len(list(PAIR.differs["gate"])), "told without the pair"
    assert again.as_dict() == table.as_dict() and again.kl == table.kl
    assert [one.as_dict() for one in again.replies] == [one.as_dict() for one in table.replies]
    other = store.new_run("search", "none", {})
    with pytest.raises(SettingError, match="has no table"):
        stored_evaluation(store, other.id)
    store.add_trials(table.run, 0, [{"model": "student"}])
    with pytest.raises(StoreError, match="another version"):
        stored_evaluation(store, table.run)


def test_a_stored_tables_sample_of_the_held_out_prompts_is_still_called_one(tmp_path):
    few = tuple(replace(p, split="held_out") for p in SETS["dsr"][:4])
    asked = replace(SETTINGS, prompt_limit=4)
    table = run_evaluation(PAIR, Store(tmp_path), asked, {"dsr": few})
    assert stored_evaluation(Store(tmp_path), table.run).asked == table.asked == HELD_OUT_SAMPLE


def test_a_search_of_another_version_is_refused_by_name(bench, tmp_path):
    shutil.copytree(bench.store.folder, tmp_path / "runs")
    store, run = Store(tmp_path / "runs"), searched().id
    store.finish(run, "done", {**store.run(run).result, "removals": [{"new": 1}]})
    with pytest.raises(StoreError, match=f"run {run} was stored by another version"):
        report_page(store, evidence_of_run(store, run))


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(),
        SearchSettings(kind="mlp", claim="quick", seed=7, max_new_tokens=12),
        SearchSettings(thinking=True, max_kl=0.5, prompt_limit=3, system="two words"),
    ],
)
def test_the_command_of_a_report_gives_the_settings_back(settings):
    command = get_command(app).commands["search"]
    given = command.make_context("search", [*settings.arguments(), "--pair", "toy-gate"]).params
    told = {name: value for name, value in settings.as_dict().items() if name in given}
    del told["pair"]
    assert len(told) > 12
    for name, value in told.items():
        wanted = ",".join(value) or None if isinstance(value, tuple) else value
        assert given[name] == wanted, name


@pytest.mark.parametrize("name", ["file", "file/under", "dangling", ".", "x" * 300, "\0", "\ud800"])
def test_a_place_that_cannot_be_is_one_line_and_nothing_is_left(name, bench, tmp_path):
    (tmp_path / "file").write_text("what was there")
    (tmp_path / "dangling").symlink_to("/nowhere")
    with pytest.raises(SettingError, match="--to"):
        bench.export(ExportSettings(form="report"), f"{tmp_path}/{name}", None, searched().id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]
    assert (tmp_path / "file").read_text() == "what was there"


@pytest.mark.parametrize("name", ["a b/c d", "ünï☃", "~/at home"])
def test_odd_names_are_names(name, bench, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    to = name if name.startswith("~") else f"{tmp_path}/{name}"
    made = bench.export(ExportSettings(form="report"), to, None, searched().id)
    assert made.files == ("report.html",) and made.bytes > 1_000_000
    assert made.folder == tmp_path / name.removeprefix("~/")


def test_a_disk_that_fills_up_leaves_nothing(bench, tmp_path):
    code = """
import resource, signal, sys
from dapa.core.records import SettingError
from dapa.workbench import ExportSettings, Workbench
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    Workbench(sys.argv[1]).export(ExportSettings(form="report"), sys.argv[2], None, sys.argv[3])
except SettingError as error:
    print(error)
"""
    asked = [sys.executable, "-c", code, str(bench.store.folder), str(tmp_path / "to")]
    ran = subprocess.run([*asked, searched().id], capture_output=True, text=True, timeout=300)
    assert ran.stdout.startswith("cannot write ") and "File too large" in ran.stdout, ran.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_into_a_models_own_folder(tmp_path):
    model = tmp_path / "student"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with new_folder(model / "notes", 9) as folder:
        put(folder / "whole", "of it")  # a configuration alone is no model
    (model / "model.safetensors").write_bytes(b"")
    for place in (model / "patched", model / "deep" / "patched", model / "x" / ".." / "patched"):
        told = pytest.raises(SettingError, match="lies in the model's folder .* place outside it")
        with told, new_folder(place, 9):
            raise AssertionError("it was begun")
    assert sorted(path.name for path in model.iterdir()) == sorted(
        ["config.json", "model.safetensors", "notes"]
    )


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "to", 9) as folder:
        put(folder / "half", "of it")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_other_searches_that_found_the_same_are_told_once(bench, tmp_path):
    shutil.copytree(bench.store.folder, tmp_path / "runs")
    store, run = Store(tmp_path / "runs"), searched().id
    mine = store.run(run)
    for _ in range(3):
        again = store.new_run("search", mine.title, mine.settings).id
        store.finish(again, "done", mine.result)
    told = next(line for line in _others(evidence_of_run(store, run), store))
    assert told.count(" found ") == 1 and told.endswith(", 3 times.")
