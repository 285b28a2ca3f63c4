"""The search's screen without a browser: choices, tasks, pictures as data, looks, sentences."""

import json
import re
import threading
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import gradio as gr
import pytest
from searched import HARMLESS, planted_pair, prompt_set, searched
from support import random_trio

from dapa.core.measurement import Call
from dapa.core.records import DapaError, Mask, Outcome, Rate, SettingError, Trial, Unit
from dapa.core.settings import presets
from dapa.prompts.sets import PromptSet
from dapa.search.engine.control import Halted
from dapa.search.engine.report import Costs, SearchProgress, SearchReport
from dapa.store.runs import Run
from dapa.ui import replay
from dapa.ui.dashboard import Dashboard
from dapa.ui.forest import Dot, Line, forest
from dapa.ui.measurements.html import drawn
from dapa.ui.parts import names
from dapa.ui.session import fresh
from dapa.ui.tabs.localize import inside
from dapa.ui.tabs.runs import compare
from dapa.ui.tabs.search import closer, result
from dapa.ui.tabs.search import form as choices
from dapa.ui.tabs.search.closer import offered
from dapa.ui.tabs.search.status import SearchStatus, meter
from dapa.ui.tasks import Tasks
from dapa.workbench import SearchSettings, Workbench
from dapa.workbench.measurements import measurements
from dapa.writing.sentences import MovedUnits, overlap_sentence, result_sentence
from dapa.writing.unit_names import layers_text

with gr.Blocks():
    FORM = choices.build()
PLAIN = {**presets(SearchSettings), "given": {}}


def chosen(**other):
    return FORM.read({**PLAIN, **other})


# -- choices ------------------------------------------------------------------------------------


def test_choices_become_settings():
    plain = chosen()
    assert (plain.retain, plain.target, plain.max_tests, plain.prior) == (0.9, None, None, None)
    assert (plain.prompt_limit, SearchSettings().prompt_limit) == (64, None)
    there = chosen(target=0.7, max_tests=20, max_tokens=5000.0, max_seconds=9)
    assert (there.target, there.max_tests, there.max_tokens, there.max_seconds) == (
        0.7, 20, 5000, 9,
    )  # fmt: skip
    assert chosen(target=0, max_tests=0, max_kl="", blocks=0) == plain, "0 and nothing: no limit"
    ranked = chosen(algorithm="weighted", prior="divergence", blocks=4)
    assert (ranked.prior, ranked.blocks) == ("divergence", 4)
    kept = chosen(max_kl=0.05, screen=False)
    assert (kept.max_kl, kept.screen, plain.max_kl, plain.screen) == (0.05, False, None, True)
    assert chosen(algorithm="ddmin", prior="divergence").prior is None
    own = chosen(given={"harmful": "mine.csv"}, minimum_gain=0.2, mode="raw", system="Be safe.")
    assert (own.prompts, own.minimum_gain) == ("mine.csv", 0.2)
    assert (own.format().mode, own.format().system) == ("raw", "Be safe.")


def test_settings_fill_the_form_that_reads_them_back():
    mine = SearchSettings(
        retain=0.7, seed=3, algorithm="weighted", prior="weights", max_tests=40, claim="exact",
        system="Be brief.", prompt_column="text", blocks=4, prompts="mine.csv",
    )  # fmt: skip
    for settings in (mine, SearchSettings()):
        *values, given, said = FORM.filled(settings)
        held = dict(zip(FORM.form.parts, values, strict=True))
        assert FORM.read({**held, "given": given}) == settings
        assert len([*values, given, said]) == len(FORM.filling)
        assert bool(said) == bool(settings.prompts), "other prompts than the bundled ones are told"


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "<b>"},
        {"kind": ["gate"]},
        {"retain": 0},
        {"retain": float("nan")},
        {"target": 1.5},
        {"prompt_limit": -1},
        {"max_new_tokens": 1e9},
        {"seed": -1},
        {"max_tests": -1},
        {"max_tokens": "many"},
        {"max_seconds": -0.5},
        {"algorithm": "weighted", "prior": "stars"},
        {"blocks": -2},
        {"max_kl": "free"},
        {"max_kl": -0.1},
        {"screen": "yes"},
        {"mode": "aloud"},
        {"system": 3},
    ],
)
def test_choices_that_make_no_sense_are_refused_in_one_line(wrong):
    with pytest.raises(SettingError) as caught:
        chosen(**wrong)
    assert "\n" not in str(caught.value)


def test_the_choices_read_as_a_sentence():
    said = choices.sentence(FORM, PLAIN)
    assert "keep 90\u202f% of the gain" in said and "as many tests as it takes" in said
    other = {**PLAIN, "target": 0.9, "max_tests": 20, "max_seconds": 60}
    said = choices.sentence(FORM, {**other, "algorithm": "weighted", "prior": "divergence"})
    assert "reach a DSR of 90\u202f%" in said and "at most 20 tests · at most 60 s" in said
    assert "local divergence" in said and "of the gain" not in said
    assert "gain · KL at most 0.05 ·" in choices.sentence(FORM, {**PLAIN, "max_kl": 0.05})


def test_the_sentence_tells_what_is_asked_of_a_pair_that_is_not_planted():
    """There a fresh form makes a confidence search, which follows no algorithm and no target."""
    said = choices.sentence(FORM, PLAIN, planted=False)
    assert "gates · choose freely, certify once · seed 0" in said
    for other in ("bisection", "of the gain", "64 prompts"):
        assert other not in said, "only the exact mode heeds it"
    assert "30 prompts choose" in choices.sentence(FORM, {**PLAIN, "prompt_limit": 30}, False)
    exact = choices.sentence(FORM, {**PLAIN, "algorithm": "ddmin"}, planted=False)
    assert "of the gain" in exact and "64 prompts" in exact


def test_only_what_differs_can_be_searched():
    assert choices.searchable({"gate": [1], "up": []}) == ["gate"]
    assert choices.searchable({"gate": [1], "mlp": [1, 2], "down": ()}) == ["gate", "mlp", "all"]
    assert choices.searchable({}) == []


@pytest.mark.parametrize(
    ("model_type", "first"), [("llama", "gate"), ("phi", "up"), ("qwen3_moe", "experts")]
)
def test_the_default_site_is_what_the_family_has_in_the_gates_place(model_type, first):
    """The form's and the strip's, asked of the page's own handler."""
    pair = random_trio(model_type).pair
    board = SimpleNamespace(workbench=SimpleNamespace(loaded=True, pair=pair))
    with gr.Blocks() as page:
        choices.wire(choices.build(), board, gr.State(0))
    (handler,) = (fn.fn for fn in page.fns.values() if fn.api_name == "search_kinds")
    told = handler("gate")
    assert told["value"] == first == fresh(0, pair).kind == pair.family.first
    offered = [kind for _, kind in told["choices"]]
    assert ("gate" in offered) == (first == "gate") and first in offered
    assert handler("mlp")["value"] == "mlp", "what was chosen and is there stays"


@pytest.mark.parametrize("moved", [("o", "q"), ("down",), ("input_layernorm",)])
def test_where_gates_are_equal_everywhere_form_and_strip_begin_at_a_kind_that_differs(moved):
    """As of an adapter that was tuned on attention alone: gates are there, and never searched."""
    pair = random_trio("llama", kinds=moved).pair
    assert pair.differs["gate"] == []
    board = SimpleNamespace(workbench=SimpleNamespace(loaded=True, pair=pair))
    with gr.Blocks() as page:
        choices.wire(choices.build(), board, gr.State(0))
    (handler,) = (fn.fn for fn in page.fns.values() if fn.api_name == "search_kinds")
    told = handler("gate")
    assert told["value"] == fresh(0, pair).kind and pair.units(told["value"])
    for _, kind in told["choices"]:
        assert pair.units(kind), "none is offered that a search would refuse"


@pytest.mark.parametrize(
    ("model_type", "first"), [("llama", "gate"), ("phi", "up"), ("qwen3_moe", "experts")]
)
def test_one_site_is_unfolded_at_what_the_family_has(model_type, first):
    pair = random_trio(model_type).pair
    board = SimpleNamespace(workbench=SimpleNamespace(loaded=True, pair=pair))
    with gr.Blocks() as page:
        maps = SimpleNamespace(shown=gr.State(), dark=gr.State(), form=SimpleNamespace(parts={}))
        inside.wire(board, inside.build(), maps, lambda shown: None, gr.State(0))
    (handler,) = (fn.fn for fn in page.fns.values() if fn.api_name == "inside_pair")
    *_, told = handler("gate")
    offered = [key for _, key in told["choices"]]
    assert told["value"] == first and first in offered and ("gate" in offered) == (first == "gate")
    assert handler("residual")[-1]["value"] == "residual", "what was chosen and is there stays"


# -- tasks --------------------------------------------------------------------------------------


def ended(task):
    assert task.wait(30)
    return task


def test_tasks_of_one_server_work_one_after_the_other():
    tasks, go, log = Tasks(), threading.Event(), []

    def first(told, stop):
        told("half", 0.5)
        assert go.wait(30)
        log.append("first")
        return 1

    one = tasks.begin("run", "first", first)
    two = tasks.begin("run", "second", lambda told, stop: log.append("second") or 2)
    assert tasks.begin("run", "first", first) is one, "one under way is not begun twice"
    assert two.state == "waiting" and not two.over
    while one.progress()[0] != "half":
        pass
    assert one.progress()[1] == 0.5
    go.set()
    assert (ended(one).result, ended(two).result) == (1, 2) and log == ["first", "second"]
    assert tasks.newest("run") is two and tasks.newest("other") is None
    again = tasks.begin("run", "first", lambda told, stop: 3)
    assert again is not one and ended(again).result == 3 and tasks.of("run", "first") is again


def test_a_task_stops_while_it_waits_and_while_it_works():
    tasks, go = Tasks(), threading.Event()
    working = tasks.begin(
        "run", "works", lambda told, stop: go.wait(30) and stop.wait(30) and "part"
    )
    waiting = tasks.begin("run", "waits", lambda told, stop: "never")
    waiting.stop()
    assert ended(waiting).state == "stopped" and waiting.result is None
    go.set()
    working.stop()
    assert ended(working).state == "stopped" and working.result == "part"

    def halts(told, stop):
        raise Halted("stopped")

    assert ended(tasks.begin("run", "halts", halts)).state == "stopped"


def test_a_task_that_fails_says_why_without_a_traceback(caplog):
    def ours(told, stop):
        raise DapaError("nothing there; choose another")

    def theirs(told, stop):
        raise KeyError("a secret prompt")

    tasks = Tasks()
    one, two = ended(tasks.begin("r", "a", ours)), ended(tasks.begin("r", "b", theirs))
    assert (one.state, one.error) == ("failed", "nothing there; choose another")
    assert two.state == "failed" and "KeyError" in two.error
    assert "secret" not in two.error + caplog.text


# -- pictures -----------------------------------------------------------------------------------


def trial(index, layers, satisfied, phase="search", judged=24, **more):
    outcome = Outcome(
        Mask.of(Unit(i) for i in layers), 24, judged, 20 if satisfied else 2, satisfied=satisfied
    )
    return Trial(index, outcome, phase, **{"memo": False, "granularity": None, **more}, seconds=0.1,
                 tokens=9)  # fmt: skip


def test_layers_can_be_used_though_a_look_fell_between_the_result_and_the_end(
    tmp_path, monkeypatch
):
    """The report stands a moment before its thread has ended, and longer on a busy machine."""
    job, use = searched(), 8
    status = SearchStatus(Dashboard(Workbench(tmp_path, planted_pair())), [None] * 18)
    monkeypatch.setattr(job, "wait", lambda seconds=None: False)
    early = status.view(job, ())
    monkeypatch.setattr(job, "wait", lambda seconds=None: True)
    late = status.view(job, early[-3])
    assert early[use] == gr.update(visible=False)
    assert late[use] == gr.update(visible=True)


def test_a_log_becomes_data_with_a_column_a_unit():
    log = [
        trial(0, [], None, "opening"),
        trial(1, range(6), None, "opening"),
        trial(2, [0, 1, 4], False, granularity=2, judged=5),
        trial(3, [3, 4, 5], True, granularity=2, memo=True),
    ]
    body = json.loads(replay.encode("r", "ddmin", log, target=0.8))
    assert body["columns"] == list("012345") and body["axis"] == "layer" and body["target"] == 0.8
    phase, cells, parts, size, state, low, high, judged, asked, memo, cut, _ = body["rows"][2]
    assert (cells, parts, size, state) == ([0, 2, 4, 1], [], 3, 0)
    assert (low, high, judged, asked, memo, cut) == (0.0833, 0.875, 5, 24, 0, 2)
    assert body["rows"][3][4] == 1 and body["rows"][3][9] == 1
    assert body["rows"][0][4] == 2, "measured in full, not held against a target"
    assert body["lines"] == [[3, 2, 3]], "two chunks of six units part before the fourth"
    assert body["phases"][0].startswith("before the search") and body["counting"] == [1]
    assert replay.encode("r", "x", []) == ""


def test_blocks_and_matrices_show_as_a_part_of_their_column():
    columns = (Unit(0, "mlp"), Unit(1, "mlp"))
    mask = Mask.of([Unit(0, "gate", (0, 8)), Unit(1, "mlp")])
    assert replay.cells(mask, columns) == ((1, 1), (0, 1))
    blocks = tuple(Unit(n, "gate", (b, b + 8)) for n in (3, 5) for b in (0, 8))
    log = [trial(0, [], None, "opening")]
    body = json.loads(replay.encode("r", "deep", log, blocks))
    assert body["axis"] == "unit" and body["groups"] == [[0, 2, "3"], [2, 2, "5"]]


def test_eighty_units_by_500_tests_travel_light():
    units = tuple(Unit(i) for i in range(80))
    log = [trial(i, range(i % 7, 80, 1 + i % 3), False, granularity=8) for i in range(500)]
    text = replay.encode("r", "ddmin", log, units, live=True)
    assert len(text) < 250_000
    assert len(json.loads(text)["rows"]) == 500


def test_a_forest_shows_interval_and_target_and_reads_without_the_picture():
    dot = Dot(Rate(0.5, 0.25, 0.75, 9), "open", "held out")
    html = forest(("what", "DSR", "n"), [Line("one", [dot], ["9"])], target=0.9)
    assert 'style="left:25.00%;width:50.00%' in html and '<u style="left:90.00%"' in html
    assert 'aria-label="held out 50\u202f% [25, 75], n = 9"' in html


def test_a_certificate_names_firm_and_undecided_by_word_and_shape():
    job = searched()
    body = job.report.as_dict()
    body["removals"][0] |= {"firm": False, "flips": 1}
    body["removals"][1] |= {"firm": True}
    html = result.draw(SearchReport.from_dict(body), "gate", 6, 0.1)
    table = html[html.index("certificate") :]
    assert "◇ undecided" in table and "1 flip," in table and "■ firm" in table
    assert table.count('class="scale"') == len(job.report.removals) == 2
    assert "dashed: target" in table and "Moving 2 of 6 gates" in html


# -- sentences ----------------------------------------------------------------------------------

LOW, MID, HIGH = Rate(0.0, 0.0, 0.05, 80), Rate(0.06, 0.02, 0.12, 80), Rate(0.97, 0.9, 1.0, 80)


def said(student, found, **more):
    return result_sentence(
        MovedUnits(2, 12, "gate", (3, 5), 0.04), student, found, 38, 10.0, **more
    )


def test_the_sentence_claims_only_what_the_intervals_bear():
    assert "raises refusals from 0\u202f% to 97\u202f%" in said(LOW, HIGH)
    assert "may change" in said(LOW, MID) and "overlap" in said(LOW, MID)
    assert "lowers" in said(HIGH, LOW)
    assert "has not been measured" in said(None, HIGH)
    assert "the best set so far" in said(LOW, HIGH, one_minimal=False)
    assert "the ones that chose it" in said(LOW, HIGH, held_out=False)
    assert "held-out" not in said(LOW, HIGH, held_out=False)


def test_the_sentence_tells_of_skill_where_it_is_known():
    same = (Rate(0.98, 0.92, 1.0, 64), Rate(0.97, 0.9, 1.0, 64))
    assert "skill 98\u202f% to 97\u202f% (no clear change, n = 64)" in said(LOW, HIGH, skill=same)
    worse = (Rate(0.98, 0.92, 1.0, 64), Rate(0.5, 0.4, 0.6, 64))
    assert "skill 98\u202f% to 50\u202f%, n = 64" in said(LOW, HIGH, skill=worse)
    assert "skill" not in said(LOW, HIGH)


def test_many_layers_are_named_by_ranges_and_few_one_by_one():
    assert layers_text([]) == "no layer" and layers_text([3]) == "layer 3"
    assert layers_text([3, 5, 7]) == "layers 3, 5 and 7"
    assert layers_text(range(12)).endswith("9, 10 and 11")
    assert layers_text(range(32)) == "layers 0 to 31"
    assert layers_text([0, 1, *range(4, 17), 30]) == "layers 0, 1, 4 to 16 and 30"
    assert names(Unit(i) for i in range(7, 80)) == "layers 7 to 79"


def test_what_is_not_known_is_left_out_of_the_sentence():
    told = result_sentence(MovedUnits(1, 0, "gate", (3,), None), LOW, HIGH, 1, 130.0)
    assert told.startswith("Moving 1 gate (layer 3), raises") and "parameters" not in told
    assert told.endswith("1 test, 2 min 10 s.")


def test_a_search_out_of_memory_tells_no_time_and_no_tests_to_come():
    told = result_sentence(MovedUnits(2, 12, "gate", (3, 5), 0.04), LOW, HIGH, 38, None)
    assert told.endswith("38 tests, all from memory.")
    assert Costs(recalled=9).all_recalled and not Costs(recalled=9, prompts_judged=1).all_recalled
    known = Costs(tests=3, recalled=9)
    now = SearchProgress("running", "search", (), (), (), None, 0.9, None, None, known, (5, 6), 1.0)
    assert "from memory" in meter(now) and "tests left" not in meter(now)
    assert "tests left" in meter(replace(now, costs=Costs(tests=3, prompts_judged=9)))


def test_the_meter_of_a_search_that_was_cut_short_does_not_say_that_nothing_is_left():
    now = SearchProgress("done", "search", (), (), (), None, 0.9, None, None, Costs(), None, None)
    assert "nothing left to test" in meter(now, "done")
    for ended in ("stopped", "budget: 3 tests"):
        told = meter(now, ended)
        assert "stopped" in told and "nothing left" not in told and "is kept" in told


def test_two_sets_are_compared_with_a_hedge():
    assert "same 2 units" in overlap_sentence(["3", "5"], ["5", "3"], LOW, LOW)
    told = overlap_sentence(["3", "5"], ["5", "7"], LOW, MID)
    assert "1 of them the same (Jaccard 0.33)" in told and "no clear difference" in told
    assert "B refuses clearly more" in overlap_sentence(["3"], ["5"], LOW, HIGH)
    assert "not compared" in overlap_sentence(["3"], ["5"], None, HIGH)


# -- closer looks -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    job = searched()
    made = Workbench(tmp_path_factory.mktemp("runs"), job.pair)
    made.__dict__["store"] = job.store
    sets = {"harmful": prompt_set(), "harmless": PromptSet("twins", "harmless", HARMLESS)}
    made.prompts = lambda source=None, role="harmful", column=None: sets[role]
    made.sets = lambda: dict.fromkeys(sets)
    return made


def asked(bench, name, told=lambda *_: None, stop=None):
    one = measurements[name]
    return Call(bench, one.settings(), told, stop or threading.Event(), job=searched())


@pytest.fixture(scope="module")
def measured(bench):
    """Every look at one planted search, measured once."""
    found, told = {}, []
    for name in offered():
        kept = measurements[name].run(asked(bench, name, lambda *a: told.append(a)))
        found[name] = kept.record
    assert all(0 <= share <= 1 for _, share in told)
    return found


WORDS = {
    "baselines": ("Of the simpler choices", "found set (", "p: exact paired McNemar"),
    "skill": ("refuses harmless twins", "n\u202f=\u202f6"),
    "stability": ("end with the same set", "Distinct 1-minimal sets", "gain kept"),
    "necessity": ("is necessary", "the whole teacher", "never written"),
    "categories": ("fraud", "DSR of the found set"),
    "dose": ("half of its highest DSR comes at", "The sham does not", "DSR, sham"),
    "found-pairs": ("pairs", "beyond the sum", "n = 12 prompts"),
    "pareto": ("on the front", "share of the parameters", "■"),
}


@pytest.mark.parametrize("name", offered())
def test_a_look_tells_its_finding_with_intervals_and_n(measured, name):
    html = drawn(measurements[name].describe(measured[name]))
    for word in WORDS.get(name, ()):
        assert word in html, (name, word)
    assert '<p class="finding">' in html and re.search(r"\[[−+]?\d", html)
    assert re.search(r"n(\u202f| )=(\u202f| )\d", html)
    assert "<script" not in html


@pytest.mark.parametrize("name", [name for name in offered() if measurements[name].figures])
@pytest.mark.parametrize("dark", [False, True])
def test_a_looks_figure_fits_the_page(measured, name, dark):
    for _, figure in measurements[name].figures(measured[name], dark):
        assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)" and figure.layout.uirevision == "dapa"
        json.loads(figure.to_json())


def test_a_look_that_was_stopped_is_drawn_all_the_same(bench):
    stop = threading.Event()

    def told(what, share):
        stop.set()

    for name in ("baselines", "stability", "necessity"):
        stop.clear()
        record = measurements[name].run(asked(bench, name, told, stop)).record
        assert drawn(measurements[name].describe(record))


@pytest.mark.parametrize("name", offered())
def test_a_look_reads_its_settings_from_the_page_and_says_what_is_wrong(name):
    card = closer_card()
    fields = presets(measurements[name].settings)
    values = {f"{name}__{field}": value for field, value in fields.items()}
    assert (name in card.forms) == bool(fields) == (name in card.folds)
    assert card.asked(name, values) == measurements[name].settings(**fields)
    for field in fields:
        with pytest.raises(SettingError):
            card.asked(name, {**values, f"{name}__{field}": ["<b>"]})


@lru_cache
def closer_card():
    with gr.Blocks():
        return closer.build()


# -- two runs -----------------------------------------------------------------------------------


def run_of(job, **other):
    settings = {"pair": {"student": "a", "teacher": "b"}, "seed": 0, "algorithm": "ddmin", **other}
    return Run(
        "x", 0.0, "search", "t", settings, "done", json.loads(json.dumps(job.report.as_dict())), 0
    )


def test_two_runs_show_what_differs_and_what_they_share():
    job = searched()
    one, two = run_of(job), run_of(job, seed=7, system="<b>be safe</b>")
    two.result["units"] = two.result["units"][:1]
    html = compare.draw(one, two, "first", "second")
    assert "<b>be safe" not in html and "&lt;b&gt;be safe" in html
    assert "A found 2 and B 1 units, 1 of them the same (Jaccard 0.50)" in html
    assert re.search(r"<td>seed</td><td>0</td><td>7</td>", html) and "algorithm" not in html
    assert "1 other settings are the same" in html or "other settings are the same" in html
    assert html.count('class="scale"') == 8 and "Other pairs" not in html
    apart = compare.draw(one, replace(one, settings={"pair": {"student": "c"}}), "1", "2")
    assert "Other pairs" in apart


def test_a_run_without_a_result_can_be_set_beside_one():
    one = run_of(searched())
    bare = replace(one, state="running", result=None)
    assert "Neither run has a result" in compare.draw(bare, bare, "a", "b")
    assert "–" in compare.draw(one, bare, "a", "b")


def test_what_two_runs_set_otherwise_is_said_in_words():
    job = searched()
    one = run_of(job, kind="gate", retain=0.9, max_tests=1500, canonical=True, seed=1000)
    two = run_of(job, kind="gate,up", retain=0.905, max_tests=None, canonical=False, seed=2000)
    page = compare.draw(one, two, "first", "second").replace("\u202f", " ")
    for row in (
        ("kind of site", "gates", "gate, up"),
        ("share of the gain to keep", "90 %", "90.5 %"),
        ("tests at most", "1,500", "–"),
        ("one batch shape", "yes", "no"),
        ("seed", "1000", "2000"),
    ):
        assert "".join(f"<td>{cell}</td>" for cell in row) in page
