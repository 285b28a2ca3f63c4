"""DSR against reply length: prefixes of one decoding are what shorter limits would have given."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from searched import AND, planted_pair, prompt_set

from dapa.core.masks import EMPTY, Mask
from dapa.core.records import Label, PromptError, SettingError, Verdict
from dapa.core.statistics import wilson
from dapa.figures.curves import length_chart
from dapa.judges.base import Judge
from dapa.judges.rules.judge import rules
from dapa.measure.decoded import Question, Speaker, answer
from dapa.measure.length import LengthPoint, Lengths, cut_at, length, lengths_up_to
from dapa.model.decode.transcript import Words
from dapa.prompts.format import PromptFormat
from dapa.store.replies import ReplyStore
from dapa.store.runs import Store
from dapa.workbench.measurements.length import finding

FOUND = Mask.of(AND.units)
PROMPTS = prompt_set().prompts[:6]


def said(limit):
    """The patched model's replies under one limit."""
    asked = [
        Question(Speaker("patched", "student", FOUND), p.text, PromptFormat()) for p in PROMPTS
    ]
    found = {}
    answer(planted_pair(), asked, limit, found.__setitem__)
    return [found[i] for i in range(len(asked))]


def curve(model, *shares, cut=0, n=20):
    """Points of 16, 32, 64 ... tokens, with these shares of verdicts as at the end."""
    return tuple(
        LengthPoint(model, 16 * 2**i, replace(wilson(10, n), cut=cut), wilson(round(share * n), n))
        for i, share in enumerate(shares)
    )


def made(*curves, **more):
    points = tuple(point for one in curves for point in one)
    return Lengths(FOUND, points, "rules/6", True, **more)


def test_lengths_double_and_end_with_the_largest():
    assert lengths_up_to(256) == (16, 32, 64, 128, 256)
    assert lengths_up_to(100) == (16, 32, 64, 100) and lengths_up_to(16) == (16,)
    assert lengths_up_to(9) == (9,)


@pytest.mark.parametrize("limit", [1, 3, 7, 16])
def test_a_prefix_is_what_decoding_with_that_limit_gives(limit):
    words = Words(planted_pair().tokenizer)
    short = [(one.text, one.ending == "length") for one in said(limit)]
    assert [cut_at(one, limit, words) for one in said(24)] == short


def test_rates_are_those_of_judging_each_limit_apart():
    found = length(planted_pair(), PROMPTS, FOUND, rules(), longest=32)
    judge = rules()
    for point in found.curve("patched"):
        labels = [
            judge(p.text, reply.text).label
            for p, reply in zip(PROMPTS, said(point.tokens), strict=True)
        ]
        assert point.dsr.value == np.mean([label is Label.REFUSAL for label in labels])
    assert found.models == ("student", "patched", "teacher") and found.complete
    assert [p.same.value for p in found.points if p.tokens == 32] == [1.0] * 3
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_judge_that_changes_its_mind_late_settles_late():
    def late(prompt, reply):
        label = Label.COMPLIANCE if len(reply.split()) > 20 else Label.REFUSAL
        return Verdict(label, "late/1")

    found = length(planted_pair(), PROMPTS, EMPTY, Judge("late/1", late), longest=64)
    assert found.models == ("student", "teacher")
    student = found.curve("student")
    assert student[0].dsr.value == 1.0 and student[0].same.value == 0.0
    assert student[-1].dsr.value == 0.0 and found.settled("student") in (32, 64, None)


def test_the_same_again_is_answered_from_the_store(tmp_path, monkeypatch):
    kept = ReplyStore(Store(tmp_path))
    first = length(planted_pair(), PROMPTS, FOUND, rules(), longest=20, kept=kept)

    def never(*_):
        raise AssertionError("nothing is decoded twice")

    monkeypatch.setattr("dapa.measure.decoded.Row", never)
    assert length(planted_pair(), PROMPTS, FOUND, rules(), longest=20, kept=kept) == first


def test_a_length_is_settled_only_where_verdicts_stay_from_there_on():
    assert made(curve("student", 0.5, 1.0, 0.9, 1.0)).settled("student") == 128
    assert made(curve("student", 0.5, 0.95, 1.0, 1.0)).settled("student") == 32
    both = made(curve("student", 1.0, 1.0, 1.0), curve("teacher", 0.5, 0.9, 1.0))
    assert (both.settled("student"), both.settled("teacher"), both.enough) == (16, 64, 64)


def test_where_only_the_largest_will_do_and_replies_are_cut_no_length_is_shown_to_be_enough():
    cut = made(curve("student", 0.5, 0.9, 1.0, cut=3))
    assert cut.settled("student") is None and cut.enough is None
    assert "No length up to 64 tokens" in finding(cut) and "with 128" in finding(cut)
    assert "student 3 of 20" in finding(cut)
    assert length_chart(cut).data[0].text[-1].count("3 cut") == 1  # told once, with the rate
    ended = finding(made(curve("student", 0.5, 1.0, 1.0)))
    assert "32 tokens are enough" in ended and "ended by itself" in ended


def test_what_has_no_length_is_told_and_a_stop_judges_what_there_is():
    with pytest.raises(PromptError, match="give some"):
        length(planted_pair(), (), FOUND, rules())
    with pytest.raises(SettingError, match="largest length is 0"):
        length(planted_pair(), PROMPTS, FOUND, rules(), longest=0)
    stop = threading.Event()
    stop.set()
    none = length(planted_pair(), PROMPTS, FOUND, rules(), longest=8, stop=stop)
    assert not none.complete and none.points == () and none.enough is None and none.longest == 0


def test_the_figure_has_a_line_a_model_and_a_tick_a_length():
    figure = length_chart(made(curve("student", 0.5, 1.0), curve("teacher", 1.0, 1.0)), True)
    assert [line.name for line in figure.data] == ["student", "teacher"]
    assert list(figure.layout.xaxis.tickvals) == [16, 32]
