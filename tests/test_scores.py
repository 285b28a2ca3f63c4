"""The replies behind a cell of the evaluation's table: which ones, in what order."""

import gradio as gr
import pytest
from classifiers import train

from dapa.core.records import EMPTY, Label, Mask, Prompt, SettingError, Unit, Verdict
from dapa.measure.evaluation import MODELS, Evaluation, Judged, speakers_of
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.ui import forms
from dapa.ui.dashboard import Dashboard
from dapa.ui.tabs.evaluate import form as asked
from dapa.ui.tabs.evaluate.scores import ORDERS, chosen, draw, replies
from dapa.workbench import Workbench


def row(prompt, reply, verdict, category, tokens):
    return {
        "prompt": prompt, "reply": reply, "verdict": verdict, "category": category,
        "tokens": tokens, "reason": "", "span": None,
    }  # fmt: skip


ROWS = [
    row("B?", "no", "refusal", "theft", 2),
    row("a?", "yes <b>", "compliance", "forgery", 9),
    row("C?", "no", "refusal", "forgery", 4),
]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("as asked", ["B?", "a?", "C?"]),
        ("by verdict", ["a?", "B?", "C?"]),
        ("by category", ["a?", "C?", "B?"]),
        ("by prompt, A to Z", ["a?", "B?", "C?"]),
        ("longest reply first", ["a?", "C?", "B?"]),
        ("shortest reply first", ["B?", "C?", "a?"]),
    ],
)
def test_replies_stand_in_the_order_asked_for(order, wanted):
    assert [r["prompt"] for r in chosen(ROWS, "", "", order)] == wanted


def test_every_order_is_tried_above():
    assert len(ORDERS) == 6


def test_words_and_a_verdict_narrow_what_is_shown_and_replies_are_escaped():
    assert [r["prompt"] for r in chosen(ROWS, "", "refusal", "as asked")] == ["B?", "C?"]
    assert [r["prompt"] for r in chosen(ROWS, "FORGERY c?", "", "as asked")] == ["C?"]
    shown = replies(ROWS, "patched", "dsr", "yes", "", "as asked")
    assert "1 of 3 replies" in shown and "&lt;b&gt;" in shown and "<b>" not in shown
    assert "No reply matches" in replies(ROWS, "patched", "dsr", "nowhere", "", "as asked")


def test_tasks_of_the_harness_stand_in_the_table_with_interval_and_n():
    told = {"acc": {"value": 0.25, "low": 0.1, "high": 0.4, "n": 40}}
    found = Evaluation((), EMPTY, True, tasks={"student": {"arc_<easy>": told}})
    shown = draw(found)
    assert "arc_&lt;easy&gt;, lm-eval" in shown and "<b>0.25</b>" in shown
    assert "[0.1, 0.4], n\u202f=\u202f40" in shown


MINE = {"six": Mask.of([Unit(6), Unit(7)]), "half": Mask.of([Unit(6)], 0.5)}


def test_a_saved_masks_column_says_what_it_transplants():
    speakers = speakers_of(Mask.of([Unit(1)], 0.25), MINE)
    said = Judged("six", "dsr", Prompt("x?"), "no", Verdict(Label.REFUSAL, "rules"), 1)
    shown = draw(Evaluation((said,), Mask.of([Unit(1)], 0.25), True, speakers=speakers))
    assert 'six<br><span class="interval">layers 6, 7</span>' in shown
    assert 'half<br><span class="interval">layer 6 at strength 0.50</span>' in shown
    assert "Patched with layer 1 at strength 0.25." in shown


@pytest.mark.parametrize(
    ("limit", "told"), [(2, "sample of the held-out (DSR)"), (64, "held out (DSR)")]
)
def test_a_sample_of_the_held_out_prompts_is_not_called_like_all_of_them(limit, told):
    asked = [Prompt(text, split="held_out") for text in ("a?", "b?")]
    said = Verdict(Label.REFUSAL, "rules/6")
    replies = tuple(Judged(m, "dsr", p, "no", said, 1) for m in MODELS for p in asked)
    found = Evaluation(replies, EMPTY, True, prompt_limit=limit)
    assert f"refuses harmful, {told}" in draw(found)
    assert found.as_dict()["dsr_over"] == told.removesuffix(" (DSR)")


def asked_of(dashboard, harm="", classes="", **values):
    """The settings of a form as a browser sends it, a few values made otherwise."""
    with gr.Blocks():
        form = forms.build(EvaluationSettings, "eval")
    sent = {**{name: part.value for name, part in form.parts.items()}, "sets": ["skill"], **values}
    return asked.settings_of(dashboard, form, "", ({}, {}, "", "", harm, classes), sent)


def test_a_field_that_is_left_to_itself_says_so(tmp_path):
    with gr.Blocks():
        form = forms.build(EvaluationSettings, "eval")
    field = form.parts["effort"]
    assert dict((value, title) for title, value in field.choices)[field.value] == (
        "as the template does"
    )


def test_the_screen_asks_for_tasks_by_name(tmp_path):
    dashboard = Dashboard(Workbench(tmp_path))
    settings = asked_of(dashboard, tasks="arc_easy, hellaswag arc_easy")
    assert settings.tasks == ("arc_easy", "hellaswag") and settings.sets == ("skill",)
    assert asked_of(dashboard, tasks="").tasks == ()
    with pytest.raises(SettingError):
        asked_of(dashboard, tasks=3)
    with pytest.raises(SettingError, match="no prompt set"):
        asked_of(dashboard, sets=[])


def test_the_screen_asks_for_harm_beside_refusal_by_classes_that_exist(tmp_path):
    dashboard, folder = (
        Dashboard(Workbench(tmp_path)),
        str(train(tmp_path / "tiny", ("safe", "bad"))),
    )
    settings = asked_of(dashboard, folder, " bad ,")
    assert settings.harm == "classifier"
    assert settings.harm_options == (f"checkpoint={folder}", "harmful=bad")
    for classes, told in (("", "needs its harmful classes named"), ("worse", "no class 'worse'")):
        with pytest.raises(SettingError, match=told + ".*safe, bad"):
            asked_of(dashboard, folder, classes)
    with pytest.raises(SettingError):
        asked_of(dashboard, str(tmp_path / "nowhere"), "bad")


def test_manners_are_counted_where_verdicts_are_and_narrow_what_is_shown():
    rows = [
        {**one, "manner": how}
        for one, how in zip(ROWS, ("lectures", "plain", "redirects"), strict=True)
    ]
    shown = replies(rows, "patched", "dsr", "", "", "as asked")
    assert "refusal</span> 2 (lectures 1, redirects 1)" in shown
    assert "compliance</span> 1 (plain 1)" in shown and shown.count("lectures") == 2
    assert [r["prompt"] for r in chosen(rows, "", "", "as asked", "redirects")] == ["C?"]
    assert chosen(rows, "", "compliance", "as asked", "redirects") == []
    older = replies(ROWS, "patched", "dsr", "", "", "by verdict")
    assert "refusal</span> 2 · " in older and "compliance</span> 1</p>" in older


def test_a_reply_that_was_cut_says_so_in_its_line():
    shown = replies([{**ROWS[1], "cut": True}], "patched", "dsr", "", "", "as asked")
    assert "9 tokens, cut at the limit" in shown
    assert "cut at" not in replies(ROWS, "patched", "dsr", "", "", "as asked")
