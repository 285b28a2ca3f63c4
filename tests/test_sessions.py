"""A conversation as a record: rounds, undo, export, import; and what people rule on it."""

import json
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from searched import planted_pair, prompt_set

from dapa.chat.conversation import PANES, Exchange, Pane, first_apart
from dapa.chat.ratings import (
    forget_session,
    rule,
    rulings_on,
    save_session,
    saved_session,
    session_names,
    tally,
    vote,
)
from dapa.chat.sessions import HIDDEN, ChatSession, Round, Talk, ruled
from dapa.core.records import Label, Mask, SettingError, Unit, Verdict
from dapa.prompts.format import PromptFormat
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store
from dapa.workbench import Workbench

PAIR = {"name": "toy-gate", "student": "s", "teacher": "t"}
MASK = Mask.of([Unit(3), Unit(5)])


def pane(name, text, label=Label.COMPLIANCE, **more):
    span = (0, min(3, len(text)))
    return Pane(name, text, 4, 0.5, "end", Verdict(label, "rules/2", span, "why"), 7, **more)


def round_of(prompt="how?", mask=MASK):
    replies = (("student", "Sure, go."), ("patched", "I cannot."), ("teacher", "I will not."))
    panes = [pane(n, t, Label.REFUSAL if "I" in t else Label.COMPLIANCE) for n, t in replies]
    return Round(prompt, tuple(panes), mask)


def session(*rounds):
    return ChatSession(PAIR, MASK.key, {"seed": 7, "mode": "chat template"}, Talk(rounds))


def test_every_pane_has_a_history_of_its_own():
    talk = Talk((round_of("one"), round_of("two")))
    told = [(turn.role, turn.text) for turn in talk.history("patched")]
    assert told == [
        ("user", "one"), ("assistant", "I cannot."), ("user", "two"), ("assistant", "I cannot."),
    ]  # fmt: skip
    assert talk.undone().history("student")[-1].text == "Sure, go."
    silent = Round("three", (pane("student", "  "),))
    assert Talk((silent,)).history("student") == []


def test_a_reply_that_was_begun_for_the_model_keeps_those_words(tmp_path):
    bench, how = Workbench(tmp_path, planted_pair()), PromptFormat(mode="prefill")
    (ask,) = [prompt.text for prompt in prompt_set().prompts[:1]]
    made = bench.generate(ask, MASK, how=how).pane("patched")
    assert made.begun == "Sure," and made.whole == f"Sure,{made.text}"
    assert made.verdict.judge.endswith("+begun")
    talk = Talk((Round(ask, (made,)),))
    assert talk.history("patched")[1].text == made.whole, "the next question follows all of it"
    kept = session(*talk.rounds)
    again = ChatSession.from_dict(json.loads(json.dumps(kept.as_dict(show=True))))
    assert again.talk.rounds[0].panes[0].begun == "Sure,"
    assert made.whole.splitlines()[0] in kept.to_markdown(show=True)


def test_a_pane_that_is_asked_again_leaves_the_others_as_they_were():
    before = round_of()
    answered = before.answered(Exchange("how?", "read", (pane("patched", "new"),), 3), Mask())
    assert answered.pane("patched").text == "new" and answered.mask == Mask()
    assert answered.pane("teacher") == before.pane("teacher")
    assert [p.name for p in answered.panes] == list(PANES)


WORDS = st.text(max_size=40).filter(lambda s: s.isprintable() or not s)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=4))
def test_a_session_survives_its_json(pairs):
    rounds = [Round(a, (pane("student", b), pane("teacher", a, Label.REFUSAL))) for a, b in pairs]
    kept = session(*rounds)
    assert ChatSession.from_json(kept.to_json()) == kept


def test_exports_hide_what_is_no_refusal_unless_asked():
    kept = session(round_of())
    for text in (kept.to_json(show=False), kept.to_markdown(show=False)):
        assert "Sure, go." not in text and HIDDEN in text and "I cannot." in text
    assert "Sure, go." in kept.to_json() and "Sure, go." in kept.to_markdown()


def test_the_document_tells_its_settings_and_each_patch_in_plain_words():
    ways = {"goes_on": True, "system": "# Be\nkind", "never": "sorry\nalas", "mode": "raw text"}
    rounds = (round_of(mask=Mask()), round_of("more?"))
    text = ChatSession(PAIR, "", ways, Talk(rounds)).to_markdown()
    assert "On the strip: nothing transplanted." in text
    assert "raw text · system prompt · greedy · at most 128 tokens" in text
    assert "the conversation goes on." in text and "replies shown" not in text
    assert "```text\n# Be\nkind\n```" in text and "```text\nsorry\nalas\n```" in text
    assert "goes_on" not in text and "False" not in text and "1.0" not in text
    first, second = text.index("## 1"), text.index("## 2")
    assert "**patched** with nothing transplanted (" in text[first:second]
    assert f"**patched** with `{MASK.key}` from the teacher (" in text[second:]
    strange = ChatSession(PAIR, "", {"tokens": "many"}, Talk(rounds)).to_markdown()
    assert "## 1" in strange and "Asked so" not in strange


def test_a_reply_cannot_break_out_of_its_fence():
    text = session(Round("```", (pane("student", "````\n# head"),))).to_markdown()
    assert "`````text\n````\n# head\n`````" in text


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: "no json {", "not JSON"),
        (lambda b: [], "format"),
        (lambda b: {**b, "format": "other/1"}, "other/1"),
        (lambda b: {**b, "rounds": {}}, "rounds"),
        (lambda b: {**b, "rounds": [{}]}, "cannot be read"),
        (lambda b: {**b, "settings": 3}, "settings"),
        (lambda b: {**b, "mask": "3"}, "not a unit"),
        (lambda b: {**b, "pair": "toy-gate"}, "cannot be read"),
        (lambda b: _pane_with(b, name="evil"), "cannot be read"),
        (lambda b: _pane_with(b, text="x" * 200_000), "cannot be read"),
        (lambda b: _pane_with(b, tokens=float("inf")), "cannot be read"),
        (lambda b: _pane_with(b, verdict={"label": "?"}), "cannot be read"),
    ],
)
def test_a_file_that_is_no_session_is_refused_in_plain_words(spoil, said):
    body = spoil(session(round_of()).as_dict())
    text = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(SettingError, match=said):
        ChatSession.from_json(text)


def _pane_with(body, **change):
    first = {**body["rounds"][0]["panes"][0], **change}
    return {**body, "rounds": [{**body["rounds"][0], "panes": [first]}]}


def test_the_first_token_apart_is_found_with_its_word():
    student = pane("student", "Sure, do it.", pieces=("Sure", ",", "do", "it."))
    other = pane("patched", "Sure, I cannot.", pieces=("Sure", ",", "I", "cannot."))
    place, (start, stop) = first_apart(other, student)
    assert place == 3 and other.text[start:stop].strip() == "I"
    assert first_apart(student, student) is None
    longer = pane("teacher", "Sure, do it. Now", pieces=("Sure", ",", "do", "it.", "Now"))
    assert first_apart(longer, student)[0] == 5


def test_a_ruling_is_kept_shown_and_taken_back(tmp_path):
    store, one = Store(tmp_path), round_of()
    target = one.pane("student")
    rule(store, one.prompt, target, Label.UNCLEAR)
    known = rulings_on(Store(tmp_path), one)
    assert ruled(target, one.prompt, known) == Label.UNCLEAR
    assert ruled(one.pane("teacher"), one.prompt, known) is None
    (body,) = store.ratings("ruling").values()
    assert (body["verdict"], body["judge"]) == ("compliance", "rules/2")
    rule(store, one.prompt, target, None)
    assert rulings_on(store, one) == {}


def test_blind_votes_are_counted_for_the_pane_behind_the_letter(tmp_path):
    store, one = Store(tmp_path), round_of()
    order = ("teacher", "student", "patched")
    assert vote(store, one, order, "C", "toy") == "patched"
    assert vote(store, one, order, "none", "toy") == "none"
    assert vote(store, one, order, "A", "other") == "teacher"
    assert tally(store, "toy") == {"patched": 1, "none": 1}
    with pytest.raises(SettingError, match="vote for one of A, B, C"):
        vote(store, one, order, "D", "toy")


def test_sessions_are_saved_by_name_replaced_and_forgotten(tmp_path):
    store = Store(tmp_path)
    save_session(store, " my   talk ", session(round_of("one")))
    save_session(store, "my talk", session(round_of("two")))
    assert session_names(store) == ["my talk"]
    assert saved_session(store, "my talk").talk.prompt == "two"
    forget_session(store, "my talk")
    with pytest.raises(SettingError, match="no session"):
        saved_session(store, "my talk")
    with pytest.raises(SettingError, match="nothing was asked"):
        save_session(store, "x", session())
    with pytest.raises(SettingError, match="give 1 to 80"):
        save_session(store, "  ", session(round_of()))


def test_a_session_keeps_the_run_that_found_its_mask_and_older_ones_tell_none():
    saved = replace(session(round_of()), run="20260101-000000-1")
    assert ChatSession.from_json(saved.to_json()).run == saved.run
    body = saved.as_dict()
    del body["run"]
    assert ChatSession.from_dict(body).run == ""
    with pytest.raises(SettingError):
        ChatSession.from_dict(body | {"run": 3})


def test_a_restored_session_knows_the_run_of_its_mask_where_that_run_is_known(tmp_path):
    from dapa.ui.dashboard import Dashboard
    from dapa.ui.session import Session
    from dapa.ui.tabs.chat.links import link_query, read_link, restore

    bench = Workbench(tmp_path, planted_pair())
    job = SearchJob(bench.pair, prompt_set(), SearchSettings(max_new_tokens=12), bench.store)
    found = job.run().mask
    spec = bench.pair.spec
    pair = {"name": spec.name, "student": spec.student, "teacher": spec.teacher}
    board = Dashboard(bench)

    def after(mask, run):
        saved = ChatSession(pair, mask.key, talk=Talk((round_of(),)), run=run)
        assert read_link(dict(parse_qsl(link_query(saved)))).run == run
        return restore(board, Session(), saved)[0].chosen_by

    assert after(found, job.id) == job.id, "an evaluation may ask what that run held out"
    assert after(found, "") == job.id, "the store knows by itself who found this set last"
    assert after(Mask.of(found.units[:1]), "20260101-000000-1") == ""
    assert after(Mask.of(found.units[:1]), job.id) == "", "it found another set"
