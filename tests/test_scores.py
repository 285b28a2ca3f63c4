"""The replies behind a cell of the evaluation's table: which ones, in what order."""

import pytest

from dapa.ui.tabs.scores import ORDERS, chosen, replies


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
