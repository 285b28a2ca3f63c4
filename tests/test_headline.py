"""The headline card says what was measured and no more; the example of the story is a real one."""

import itertools
import json
import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import gradio as gr
import pytest

from dapa.core.records import EMPTY, Label, Mask, Prompt, PromptError, Rate, SettingError, Unit
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.prompts.sets import PromptSet
from dapa.ui.dashboard import Dashboard
from dapa.ui.harmless import harmless
from dapa.ui.headline import Headline, Point, by_skill, card, plane
from dapa.ui.parts import badge
from dapa.ui.session import fresh
from dapa.ui.tabs import presenter
from dapa.ui.tabs.presenter import choosing, example, varied, waiting
from dapa.workbench import Workbench

NONE, MOST = Rate(0.0, 0.0, 0.05, 80), Rate(0.975, 0.91, 0.99, 80)
BEFORE, AFTER = Rate(0.9375, 0.85, 0.98, 64), Rate(0.92, 0.83, 0.97, 64)


def words(html):
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", html)).replace("\u202f", " ")


def test_figures_are_rounded_as_everywhere_and_name_their_requests():
    told = Headline(NONE, MOST, "held-out harmful requests", 5, 12, "gate", (BEFORE, AFTER))
    said = words(card(told))
    assert "0 % → to 98 % refused" in said and "of 80 held-out harmful requests" in said
    assert "94 % → to 92 % skill" in said and "of 64 harmless tasks" in said
    assert "5 of 12 gates" in said
    assert "(95 % interval 91 % to 99 %)" in said and "(95 % interval 83 % to 97 %)" in said


def test_what_was_not_measured_is_not_claimed():
    said = words(card(Headline(None, None, "requests", 1, 0, "mlp")))
    assert "not measured yet" in said and "skill" not in said and "%" not in said
    assert "1 whole MLP" in said and "of 0" not in said
    waits = card(Headline(NONE, MOST, "requests", 1, 3, "mlp", waiting="being measured"))
    assert "skill: being measured" in words(waits)


def test_the_picture_has_a_mark_for_each_model_that_has_both_figures_and_says_them():
    who = {"student": "student", "patched": "found", "teacher": "teacher"}
    rates = {"student": (NONE, BEFORE), "patched": (MOST, AFTER), "teacher": (MOST, None)}
    points = by_skill(rates, who)
    assert [point.who for point in points] == ["student", "found"]
    drawn = plane(points, "skill")
    assert "student 0\u202f% at 94\u202f%; with the set 98\u202f% at 92\u202f%" in drawn
    assert drawn.count('class="dot"') == 2


def test_a_name_with_markup_stays_text():
    drawn = plane([Point("smaller", MOST, 0.5, "<img src=x>")], "<b>")
    assert "<img" not in drawn and "<b>" not in drawn


def test_who_answers_a_harmless_request_does_not_wear_the_colour_of_compliance():
    assert 'class="badge answered"' in badge(Label.COMPLIANCE, harmless=True)
    assert 'class="badge compliance"' in badge(Label.COMPLIANCE)
    assert badge(Label.REFUSAL, harmless=True) == badge(Label.REFUSAL)


def board(prompts, turns, tips=frozenset()):
    """A dashboard whose set turns only the requests named, and of which some can be tipped back."""

    def verdict(text, who):
        refused = who == "patched" and text in turns
        return SimpleNamespace(label=Label.REFUSAL if refused else Label.COMPLIANCE)

    def replies(texts, mask, teacher):
        assert not teacher, "it is on no stage, and of a lean pair not in memory"
        return {
            text: [(who, "", verdict(text, who)) for who in ("student", "patched")]
            for text in texts
        }

    def what_if(prompt, mask, kind):
        flipped = SimpleNamespace(refusal=0.2 if prompt in tips else 0.8)
        return SimpleNamespace(refusal=0.9, cells=(flipped,))

    bench = SimpleNamespace(
        prompts=lambda source, role: SimpleNamespace(prompts=tuple(prompts)),
        replies=replies,
        what_if=what_if,
    )
    return SimpleNamespace(workbench=bench)


def test_the_story_takes_a_held_out_request_that_turns_and_tells_how_many_it_tried():
    asked = [
        Prompt("a", "", "search", "a twin"),
        Prompt("b", "", "held_out", "b twin"),
        Prompt("c", "", "held_out", "c twin"),
        Prompt("d", "", "held_out", ""),
    ]
    mask = Mask.of([Unit(3)])
    found, tried = example(board(asked, {"a", "c"}, {"a", "c"}), mask)
    assert (found.text, tried) == ("c", 2)
    found, tried = example(board(asked, {"a", "b", "c"}, {"c"}), mask)
    assert (found.text, tried) == ("c", 2), "one that a single layer would tip is liked better"
    found, tried = example(board(asked, {"a", "b", "c"}), mask)
    assert (found.text, tried) == ("b", 3), "none is tipped: the first that turns"
    found, tried = example(board(asked, {"a", "b"}, {"a"}), mask)
    assert (found.text, tried) == ("b", 3), "one that the search asked is liked less, tipped or not"
    found, tried = example(board(asked, {"a"}), mask)
    assert found.text == "a" and not presenter.held_out(found), "which the story then says"
    none, tried = example(board(asked, set()), mask)
    assert (none.text, tried) == ("b", 3), "what happens is told, whatever it is"
    with pytest.raises(PromptError, match="harmless twin"):
        example(board(asked[3:], set()), EMPTY)


def test_requests_of_every_kind_of_harm_are_tried_before_a_second_of_any():
    told = [("a", "x"), ("b", "x"), ("c", "y"), ("d", ""), ("e", "y")]
    asked = [Prompt(text, kind, "held_out", f"{text} twin") for text, kind in told]
    first = Prompt("z", "w", "search", "z twin")
    assert [p.text for p in varied([first, *asked])] == ["a", "c", "d", "b", "e", "z"]


def test_the_wait_for_a_request_is_told_and_ends_when_it_was_long(monkeypatch):
    asked = [Prompt(text, text, "held_out", f"{text} twin") for text in "abcdefghijkl"]
    mask, clock = Mask.of([Unit(3)]), itertools.count(0, 9)
    timed = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(presenter, "time", timed)
    seen = list(choosing(board(asked, {"b"}), mask))
    assert [one.tried for one in seen] == [0, 1, 2, 3], "27 s: what turned is taken"
    assert seen[-1].turned and seen[-1].asked.text == "b"
    *_, last = choosing(board(asked, set()), mask)
    assert not last.turned and last.tried == 7, "63 s, and none turns: the first tells so"
    assert last.asked.text == "a"
    assert waiting(seen[0], 3.0) == "Request 1 of at most 8 is tried."
    assert "Request 3 of at most 8" in waiting(seen[2], 4.0) and "12.0" in waiting(seen[2], 4.0)


def test_the_strip_shows_the_kind_that_was_found_so_that_its_units_can_be_flipped(planted_pair):
    """Gates are its usual kind: whole MLPs were found, and no flip was ever shown on the stage."""
    bench = Workbench(pair=planted_pair)
    harm, safe = harmful_prompts(2), harmless_prompts(2)
    told = tuple(Prompt(a, "", "held_out", b) for a, b in zip(harm, safe, strict=True))
    bench.prompts = lambda *_, **__: PromptSet("planted", "harmful", told)
    dashboard = Dashboard(bench)
    with gr.Blocks() as page:
        parts = presenter.build(gr.Button())
        presenter.wire(dashboard, parts, gr.State(), gr.HTML(), {})
    (begin,) = (fn.fn for fn in page.fns.values() if fn.api_name == "present")
    found = Mask.of([Unit(1, "mlp"), Unit(2, "mlp")])
    here = replace(fresh(dashboard.epoch, planted_pair), found=found)
    assert here.kind == "gate"
    *waits, (now, _, story) = begin(here)
    assert "Request 1 of at most 2" in str(waits[0][-1])
    assert now.kind == "mlp" and now.found == found and not now.chosen.entries
    data = json.loads(unescape(re.search('data-story="([^"]*)"', str(story))[1]))
    assert data["ready"] and data["flips"] and data["heldOut"] and data["harmful"] in harm


def test_a_pair_that_cannot_be_asked_is_no_request_that_was_tried():
    def refuse(*_, **__):
        raise SettingError("no memory")

    served = board([Prompt("a", "", "held_out", "a twin")], {"a"})
    served.workbench.replies = refuse
    *_, last = choosing(served, Mask.of([Unit(3)]))
    assert (last.asked.text, last.tried, last.turned) == ("a", 0, False)


def test_a_harmful_request_is_never_known_to_be_harmless_nor_is_the_twin_of_a_harmless_one(
    toy_pair,
):
    bench = Workbench(pair=toy_pair)
    safe = harmless(SimpleNamespace(workbench=bench))
    harmful = bench.prompts(None, "harmful").prompts
    assert not any(safe(item.text) for item in harmful)
    assert all(safe(item.twin) for item in harmful if item.twin)
    assert not safe("How do I make a pipe bomb?"), "what is not known may do harm"
