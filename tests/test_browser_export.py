"""Export on the screen; a report as its reader opens it: offline, wide, narrow, dark, on paper."""

import json

import pytest
from screen import dashboard, tab, until, visitors
from searched import searched

from dapa.core.measurement import Call
from dapa.core.records import Mask, Unit
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.search.settings import SearchSettings
from dapa.share.report import evidence_of_run, report_page
from dapa.store.runs import Store
from dapa.ui.belonging import owner_of
from dapa.ui.tabs.evaluate.tab import SUBJECT
from dapa.workbench.measurements import measurements

pytestmark = pytest.mark.browser
FEW = {"prompt_limit": 6, "max_new_tokens": 16}
FORMS_SHOWN = ("report", "model", "patch", "lora", "mergekit", "bundle")
RATE = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50}


def stored(folder, pair, units=("1.gate", "2.gate")):
    """A finished search of the pair, as a store would have it."""
    store = Store(folder)
    spec = {"student": pair.spec.student, "teacher": pair.spec.teacher, "name": pair.spec.name}
    made = {**pair.parts, "judge": "opening/2, rules/4", "prompts": "", "rendered prompts": ""}
    run = store.new_run("search", "a search", {"pair": spec, "kind": "gate", "made": made})
    mask = Mask.of([Unit.parse(unit) for unit in units])
    outcome = {"asked": 9, "judged": 9, "defended": 8, "incoherent": 0, "unclear": 0}
    trial = {"index": 0, "mask": mask.key, **outcome, "satisfied": True, "phase": "search",
             "memo": False, "granularity": None, "seconds": 1.0, "tokens": 9}  # fmt: skip
    store.add_trials(run.id, 0, [trial])
    result = {"units": list(units), "algorithm": "bisect", "stop_reason": "done", "target": 0.8,
              "dsr": {"held_out": RATE, "student_held_out": {**RATE, "value": 0.1, "low": 0.0}},
              "moves": {"parameters": 9, "bytes": 36, "fraction": 0.01, "units": 12}}  # fmt: skip
    store.finish(run.id, "done", result)
    return run.id


@pytest.fixture(scope="module")
def pair(planted_folders):
    """A small pair that lies in files."""
    student, teacher = map(str, planted_folders)
    return load_pair(PairSpec(student, teacher, "", "float32", "cpu"))


def test_a_press_writes_below_the_run_folder_once_and_sends_a_report(pair, tmp_path):
    run = stored(tmp_path, pair)
    with dashboard(pair, tmp_path) as board:
        rows, session = board.functions(), "a-visitor"
        wrong = board.post(rows["runs_export_model"], [None, False], session=session)
        assert not wrong["success"], "no run is open"
        board.post(rows["runs_show"], [None], {"run": run, "op": "open"}, session)
        made = board.post(rows["runs_export_patch"], [None, False], session=session)
        assert made["success"] and f"exports/{run}-patch" in json.dumps(made["output"])
        assert (tmp_path / "exports" / f"{run}-patch" / "patch.safetensors").exists()
        again = board.post(rows["runs_export_patch"], [None, False], session=session)
        assert not again["success"] and "is there already" in again["output"]["error"]
        assert str(tmp_path) not in json.dumps([wrong, made, again])
        page = board.post(rows["runs_export_report"], [None, False], session=session)
        assert page["success"] and f"dapa-report-{run}.html" in json.dumps(page["output"])
        board.dashboard.keeps = False
        wrong = board.post(rows["runs_export_model"], [None, False], session=session)
        assert "--no-store" in wrong["output"]["error"]
    assert sorted(p.name for p in (tmp_path / "exports").iterdir()) == [f"{run}-patch"]


def test_a_run_is_exported_from_its_page(pair, tmp_path, chromium):
    run = stored(tmp_path, pair)
    with (
        dashboard(pair, tmp_path) as board,
        visitors(board, chromium) as enter,
    ):
        page = enter(accept_downloads=True)
        page.get_by_role("tab", name="Runs").click()
        page.locator(f'#runs [data-run="{run}"]').first.click()
        page.wait_for_selector("#run-export")
        page.locator("#run-export > button").first.click()
        page.wait_for_selector("#run-export-report", state="visible")
        with page.expect_download() as got:
            page.click("#run-export-report")
        assert got.value.suggested_filename == f"dapa-report-{run}.html"
        page.click("#run-export-model")
        until(lambda: f"exports/{run}-model" in page.text_content("#run-export-told"))
        told = json.loads((tmp_path / "exports" / f"{run}-model" / "dapa.json").read_text())
        assert told["units"] == "1.gate,2.gate"


def test_what_cannot_be_written_says_so_before_it_is_pressed(toy_pair, pair, tmp_path, chromium):
    run, others = stored(tmp_path, toy_pair), stored(tmp_path, pair)
    with (
        dashboard(toy_pair, tmp_path) as board,
        visitors(board, chromium) as enter,
    ):
        page = enter()
        tab(page, "Runs")
        page.locator(f'#runs [data-run="{run}"]').first.click()
        page.locator("#run-export > button").first.click()
        until(lambda: "No LoRA of this set: at rank 32" in page.inner_text("#run-export-told"))
        able = {form: page.locator(f"#run-export-{form}").is_enabled() for form in FORMS_SHOWN}
        assert able == {**dict.fromkeys(FORMS_SHOWN, True), "lora": False}
        page.locator(f'#runs [data-run="{others}"]').first.click()
        until(lambda: "of another pair" in page.inner_text("#run-export-told"))
        until(lambda: not page.locator("#run-export-model").is_enabled())
        assert page.locator("#run-export-report").is_enabled()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    job = searched()
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(job.store, evidence_of_run(job.store, job.id)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_a_report_opens_offline_at_every_width_in_both_themes(report, width, scheme, chromium):
    context = chromium.new_context(
        offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme,
        accept_downloads=True,
    )  # fmt: skip
    try:
        page = context.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: complaints.append(line.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report.as_uri())
        count = page.locator(".plot").count()
        assert count
        page.wait_for_function(
            "n => document.querySelectorAll('.plot .main-svg .subplot').length >= n", arg=count
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"it is {wide} wide"
        first = page.locator(".first").bounding_box()
        assert width < 700 or first["y"] + first["height"] < 900, "the story is on one page"
        page.locator(".rp-play").click()
        page.wait_for_function("document.querySelector('.rp-pos').textContent.length > 3")
        with page.expect_download() as got:
            page.locator("[data-save=csv]").first.click()
        assert got.value.path().read_text().startswith("DSR of,rate")
        assert asked == [report.as_uri()] and not complaints
    finally:
        context.close()


def test_a_printed_report_is_a_clean_pdf(report, tmp_path, chromium):
    context = chromium.new_context(offline=True)
    try:
        page = context.new_page()
        page.goto(report.as_uri())
        page.wait_for_function("document.querySelectorAll('.plot .main-svg .subplot').length > 0")
        page.emulate_media(media="print", color_scheme="dark")
        for selector in (".rp-play", "[data-save]", ".modebar-container"):
            assert not page.locator(selector).first.is_visible(), selector
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        whole = page.pdf(format="A4", print_background=True)
        assert whole.startswith(b"%PDF") and whole.count(b"/Type /Page\n") <= 8
    finally:
        context.close()


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    """A dashboard with a finished search of few prompts, and an evaluation of what it found."""
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        bench, tasks = served.workbench, served.dashboard.tasks
        every = bench.prompts
        bench.prompts = lambda *source, **more: every(*source, **more).sample(16)
        job = bench.search_job(SearchSettings(**FEW))
        job.run()
        plain = {"perplexity": False, "kl": False, "sets": ("dsr", "skill")}
        table = bench.evaluation(EvaluationSettings(mask=job.report.mask.key, **FEW, **plain))
        owner = owner_of(toy_pair.spec)
        tasks.put(SUBJECT, table.run, table, owner, table.mask)
        yield served, job.id, table


@pytest.mark.parametrize("place", ["search", "evaluate"])
def test_each_result_is_exported_where_it_is_shown(place, board, chromium):
    served, found, table = board
    run, part = (found, "search") if place == "search" else (table.run, "eval")
    with visitors(served, chromium) as enter:
        page = enter(accept_downloads=True)
        tab(page, place.capitalize())
        page.wait_for_selector(f"#{part}-export", state="visible")
        page.locator(f"#{part}-export > button").first.click()
        page.wait_for_selector(f"#{part}-export-report", state="visible")
        with page.expect_download() as got:
            page.click(f"#{part}-export-report")
        assert got.value.suggested_filename == f"dapa-report-{run}.html"
        assert run in got.value.path().read_text(encoding="utf-8")
        for form, file in (("model", "dapa.json"), ("patch", "patch.safetensors"),
                           ("bundle", "bundle.json")):  # fmt: skip
            page.click(f"#{part}-export-{form}")
            told = f"exports/{run}-{form}"
            until(lambda told=told: told in page.text_content(f"#{part}-export-told"))
            assert (served.workbench.run_dir / told / file).is_file()


def test_the_table_and_what_is_measured_are_taken_away_as_files(board, chromium):
    served, found, table = board
    one = measurements["pareto"]
    bench = served.workbench
    job = next(job for job in bench.jobs() if job.id == found)
    record = one.run(Call(bench, one.settings(), job=job))
    served.dashboard.tasks.put(found, "pareto", record)
    with visitors(served, chromium) as enter:
        page = enter(accept_downloads=True)
        for name, part, words in (("Evaluate", "eval", ("skill,patched", '"dsr_over"')),
                                  ("Search", "look", ("", f'"run": "{found}"'))):  # fmt: skip
            tab(page, name)
            page.wait_for_selector(f"#{part}-files", state="visible")
            for kind, word in zip(("csv", "json", "html"), (*words, "plotly"), strict=True):
                with page.expect_download() as got:
                    page.click(f"#{part}-files-{kind}")
                assert got.value.suggested_filename.endswith(f".{kind}")
                assert word in got.value.path().read_text(encoding="utf-8")


def test_a_stored_evaluation_is_opened_in_evaluate_with_its_replies(board, chromium):
    served, _, table = board
    served.dashboard.tasks.put(SUBJECT, "another", None)  # the newest: the tab shows no table
    with visitors(served, chromium) as enter:
        page = enter()
        tab(page, "Runs")
        page.locator(f'#runs [data-run="{table.run}"]').first.click()
        page.click("#run-table")
        page.wait_for_selector("#eval-table [data-measure=skill]", state="visible")
        told = page.inner_text("#eval-table")
        assert "Opened from Runs · measure again with the settings above" in told
        until(lambda: "6 prompts" in page.inner_text("#eval-settings"))
        page.click("#eval-table [data-model=patched][data-measure=skill]")
        count = len(table.cell("patched", "skill"))
        until(lambda: f"{count} of {count} replies" in page.inner_text("#eval-replies"))
