"""The one table: columns, wraps, pairs, categories; kept, resumed, and opened cell by cell."""

import json
import re
from dataclasses import replace
from io import StringIO
from threading import Event

import pytest
from rich.console import Console
from statsmodels.stats.contingency_tables import mcnemar

from dapa.core.records import EMPTY, Mask, Prompt, SettingError, Unit
from dapa.core.statistics import holm
from dapa.judges.base import Judge
from dapa.judges.rules.judge import rules
from dapa.measure import decoded as asking
from dapa.measure.evaluating import TablePlan, evaluate
from dapa.measure.evaluation import exact_match
from dapa.measure.evaluation_settings import EvaluationSettings, evaluation_sets
from dapa.measure.run_evaluation import run_evaluation, stored_replies
from dapa.measure.wraps import wraps
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.prompts.sets import PromptSet
from dapa.store.runs import Store
from dapa.ui.tabs.evaluate.scores import draw
from dapa.workbench import Workbench

FOUND = Mask.of([Unit(1), Unit(2)])
HALF = Mask.of([Unit(1)])


def _prompts(texts, split=False):
    names = ("fraud", "weapons", "")
    return tuple(
        Prompt(text, names[i % 3], ("search", "held_out")[i % 2] if split else "")
        for i, text in enumerate(texts)
    )


SETS = {
    "dsr": _prompts(harmful_prompts(12)),
    "over_refusal": _prompts(harmless_prompts(8)),
    "skill": (Prompt("how do I use paint", answer="not this"),),
}


@pytest.fixture(scope="module")
def pair():
    return plant(Planting(4, (1, 2), distractors=(3,))).pair()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def decoded(monkeypatch):
    """Counts the rows that are decoded."""
    count = [0]
    plain = asking.Row

    def counted(*args, **more):
        count[0] += 1
        return plain(*args, **more)

    monkeypatch.setattr(asking, "Row", counted)
    return count


def _plan(**more):
    return TablePlan(FOUND, max_new_tokens=12, **more)


def test_columns_are_the_three_models_and_every_saved_mask(pair):
    plan = _plan(
        saved={"half": HALF}, wraps=tuple(wraps), kl=True, text=("planted", "how do I " * 80)
    )
    found = evaluate(pair, SETS, FOUND, rules(), plan=plan)
    assert found.complete and found.models == ("student", "patched", "teacher", "half")
    dsr = [found.rate(model, "dsr").value for model in found.models]
    assert dsr == [0.0, 1.0, 1.0, 0.0]
    assert all(found.rate(m, "over_refusal").value == 0.0 for m in found.models)
    assert found.rate("student", "skill").value == 0.0 and found.rate("student", "harm") is None
    body = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    patched = body["models"]["patched"]
    assert set(patched["wraps"]) == set(wraps) and patched["wraps"]["prefill"]["n"] == 12
    assert patched["borderline"] is None and patched["tasks"] is None
    assert patched["perplexity"]["n"] > 0 and patched["kl"]["n"] == 8
    assert body["models"]["student"]["kl"]["value"] == 0.0 < patched["kl"]["first"]["value"] + 1
    assert body["columns"]["half"]["layers"] == [1] and body["layers"] == [1, 2]


def test_an_empty_mask_is_the_student_and_costs_nothing(pair, decoded):
    found = evaluate(pair, SETS, EMPTY, rules(), max_new_tokens=12)
    assert decoded[0] == 2 * 21  # student and teacher
    of = [[r.reply for r in found.replies if r.model == m] for m in ("student", "patched")]
    assert of[0] == of[1] and len(of[0]) == 21


def test_the_judge_reads_the_plain_request_under_every_wrap(pair):
    seen = []

    def judge(prompt, reply):
        seen.append(prompt)
        return rules()(prompt, reply)

    sets = {"dsr": SETS["dsr"][:3]}
    evaluate(pair, sets, FOUND, Judge("eye/1", judge), plan=_plan(wraps=("suppression",)))
    assert set(seen) == {p.text for p in sets["dsr"]}
    assert wraps["suppression"].write("x") != "x" and wraps["prefill"].prefill


def test_comparisons_are_mcnemars_with_holm(pair):
    found = evaluate(pair, SETS, FOUND, rules(), plan=_plan(saved={"half": HALF}))
    rows = found.paired()
    for row in rows:
        table = [[0, row.lost], [row.gained, 0]]
        assert row.p_value == pytest.approx(mcnemar(table, exact=True).pvalue if row.lost
                                            + row.gained else 1.0)  # fmt: skip
    assert [r.adjusted for r in rows] == holm([r.p_value for r in rows])
    one = next(r for r in rows if (r.measure, r.a, r.b) == ("dsr", "student", "patched"))
    assert (one.lost, one.gained, one.gain.value) == (0, 12, 1.0) and one.adjusted < 0.05
    shown = draw(found)
    assert shown.index("<b>+100</b>") < shown.index("<b>0</b>"), "the surest stand first"
    assert "+0" not in shown and "[-" not in shown, "nothing has no sign, and a minus is no hyphen"


def test_categories_are_told_apart(pair):
    found = evaluate(pair, SETS, FOUND, rules(), max_new_tokens=12)
    told = found.categories("dsr")
    assert list(told) == ["fraud", "weapons"] and told["fraud"]["patched"].n == 4
    assert found.as_dict()["by_category"]["dsr"]["weapons"]["student"]["value"] == 0.0


def test_a_rate_stands_beside_the_mean_of_its_kinds(pair):
    found = evaluate(pair, SETS, FOUND, rules(), max_new_tokens=12)
    over = found.over_kinds("patched", "dsr")
    assert (over.value, over.n) == (1.0, 2) and over.low < 1.0, "two kinds are no certainty"
    assert found.over_kinds("patched", "unclear") is None
    assert found.over_kinds("patched", "skill") is None, "its prompts are of no kind"
    assert found.as_dict()["over_kinds"]["patched"]["dsr"] == over.as_dict()
    cells = draw(found)
    assert re.search(r"over 2 kinds of harm \d+\u202f% \[", cells), "in the figures of its cell"
    from dapa.cli.evaluating import told

    console = Console(width=200, file=StringIO())
    for part in told(found):
        console.print(part)
    assert "over kinds of harm" in console.file.getvalue()
    assert "2 kinds" in console.file.getvalue()


# -- kept and resumed ------------------------------------------------------------------------


def test_the_same_again_decodes_nothing(pair, store, decoded):
    settings = EvaluationSettings(mask=FOUND.key, kl=False, text="none", max_new_tokens=12)
    first = run_evaluation(pair, store, settings, SETS)
    count = decoded[0]
    assert count == 3 * 21
    again = run_evaluation(pair, store, settings, SETS)
    assert decoded[0] == count and again.replies == first.replies and again.run != first.run
    other = replace(settings, judge="released")
    judged = run_evaluation(pair, store, other, SETS)
    assert decoded[0] == count, "another judge decodes nothing"
    assert {r.verdict.judge for r in judged.replies} == {"released/1"}
    run_evaluation(pair, store, replace(settings, max_new_tokens=11), SETS)
    assert decoded[0] == 2 * count, "another limit is another memory"


def test_a_stopped_table_is_partial_and_goes_on_where_it_was(pair, store, decoded):
    stop = Event()
    settings = EvaluationSettings(mask=FOUND.key, kl=False, text="none", max_new_tokens=12)

    def halt(what, share):
        stop.set()

    few = {**SETS, "dsr": _prompts(harmful_prompts(40))}
    part = run_evaluation(pair, store, settings, few, progress=halt, stop=stop)
    assert not part.complete and 0 < len(part.replies) < 3 * 49
    assert store.run(part.run).state == "stopped" and not part.as_dict()["complete"]
    kept = decoded[0]
    whole = run_evaluation(pair, store, settings, few, run_id=part.run)
    assert whole.complete and whole.run == part.run and len(whole.replies) == 3 * 49
    assert decoded[0] < kept + 3 * 49
    fresh = run_evaluation(pair, Store(store.folder / "other"), settings, few)
    assert whole.replies == fresh.replies


def test_a_text_is_read_once_and_reading_it_can_be_stopped(pair, store, monkeypatch):
    text = store.folder / "words.txt"
    text.write_text("how do I use paint " * 200, encoding="utf-8")
    settings = EvaluationSettings(mask=FOUND.key, kl=False, text=str(text), max_new_tokens=12)
    stop = Event()

    def told(what, share):
        if what.startswith("perplexity"):
            stop.set()

    part = run_evaluation(pair, store, settings, SETS, progress=told, stop=stop)
    assert not part.complete and len(part.replies) == 3 * 21 and not part.perplexity
    whole = run_evaluation(pair, store, settings, SETS)
    assert whole.complete and list(whole.perplexity) == list(whole.models)

    def never(*_, **__):
        raise AssertionError("nothing is read twice")

    monkeypatch.setattr("dapa.measure.evaluating.perplexity", never)
    again = run_evaluation(pair, store, settings, SETS)
    assert again.perplexity == whole.perplexity


def test_every_reply_is_kept_and_opened_by_its_cell(pair, store):
    settings = EvaluationSettings(mask=FOUND.key, kl=False, text="none", max_new_tokens=12)
    found = run_evaluation(pair, store, settings, SETS)
    rows = stored_replies(store, found.run, "patched", "dsr")
    assert [r["reply"] for r in rows] == [r.reply for r in found.cell("patched", "dsr")]
    assert all(r["hit"] and r["verdict"] == "refusal" for r in rows) and len(rows) == 12
    assert len(stored_replies(store, found.run)) == len(found.replies)
    assert stored_replies(store, found.run, "patched", "incoherent") == []
    with pytest.raises(SettingError, match="no model 'nobody'; it has student"):
        stored_replies(store, found.run, "nobody")
    other = store.new_run("search", "x", {}).id
    with pytest.raises(SettingError, match="is a search"):
        stored_replies(store, other)


def test_a_stored_evaluation_is_resumed_from_its_settings(planted_folders, tmp_path):
    student, teacher = map(str, planted_folders)
    (tmp_path / "harmful.txt").write_text("\n".join(harmful_prompts(6)), encoding="utf-8")
    bench = Workbench(tmp_path / "runs")
    bench.load(bench.spec(None, student, teacher, "float32"))
    harmful = str(tmp_path / "harmful.txt")
    settings = EvaluationSettings(
        mask=FOUND.key, prompts=harmful, saved={"half": HALF.key}, text="none"
    )
    found = bench.evaluation(settings)
    again = Workbench(tmp_path / "runs").resume_evaluation(found.run)
    assert again.replies == found.replies and again.models[-1] == "half"
    assert len(bench.evaluation_replies(found.run, "half", "dsr")) == 6


def test_what_failed_is_told_and_kept_as_failed(pair, store):
    bad = EvaluationSettings(mask="99.gate", text="none")
    with pytest.raises(SettingError, match="layer 99"):
        run_evaluation(pair, store, bad, SETS)
    for wrong in ({"saved": {"student": HALF}}, {"wraps": ("magic",)}):
        with pytest.raises(SettingError):
            _plan(**wrong)
    for wrong in ({"prompt_limit": 0}, {"seed": -1}, {"max_new_tokens": 0}, {"mask": "x"}):
        with pytest.raises(SettingError):
            EvaluationSettings(**wrong)


# -- what is asked ---------------------------------------------------------------------------


def test_held_out_prompts_serve_and_the_search_part_stands_apart():
    harmful = PromptSet("h", "harmful", _prompts(harmful_prompts(12), split=True))

    def find(source, role):
        return harmful if role == "harmful" else None

    sets = evaluation_sets(find, EvaluationSettings())
    assert set(sets) == {"dsr", "dsr_search"}
    assert {p.split for p in sets["dsr"]} == {"held_out"}
    assert len(sets["dsr"]) == len(sets["dsr_search"]) == 6
    few = evaluation_sets(find, EvaluationSettings(prompt_limit=3, seed=1))
    assert len(few["dsr"]) == 3 and few == evaluation_sets(
        find, EvaluationSettings(prompt_limit=3, seed=1)
    )
    assert {p.category for p in few["dsr"]} == {"fraud", "weapons", ""}, "by category"
    whole = PromptSet("h", "harmful", _prompts(harmful_prompts(4)))
    assert set(evaluation_sets(lambda s, r: whole, EvaluationSettings(prompts="f"))) == {"dsr"}


def test_exact_match_forgives_case_and_a_full_stop_only():
    assert exact_match(" It is White. ", "it is white") and not exact_match("white", "it is white")
    assert not exact_match("", "")


# -- the claim -------------------------------------------------------------------------------


def test_on_toy_gate_the_patched_student_refuses_and_keeps_its_skill(toy_pair, store):
    bench = Workbench(store.folder, toy_pair)
    asked = bench.evaluation_sets()
    del asked["dsr_search"], asked["borderline"]
    found = Mask.of(Unit(layer) for layer in (4, 5, 6, 7, 8))
    settings = EvaluationSettings(mask=found.key, kl=False, text="none", max_new_tokens=24)
    table = bench.evaluation(settings, sets=asked)
    skill = {m: table.rate(m, "skill").value for m in table.models}
    assert table.rate("patched", "dsr").value >= 0.9 > 0.05 >= table.rate("student", "dsr").value
    assert table.rate("patched", "over_refusal").value <= 0.1
    assert abs(skill["patched"] - skill["student"]) <= 0.05
    assert skill["teacher"] <= skill["student"] - 0.4
    lost = next(
        r for r in table.paired() if (r.measure, r.a, r.b) == ("skill", "student", "teacher")
    )
    assert lost.gain.high < 0 and lost.adjusted < 0.01
