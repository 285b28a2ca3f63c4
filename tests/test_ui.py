"""The screen without a browser: sessions, pieces of HTML, checks of what a browser sends."""

import re
from html import unescape

import gradio as gr
import pytest

import app
from dapa.chat.conversation import Pane
from dapa.chat.sessions import ChatSession as Saved
from dapa.chat.sessions import Round, Talk
from dapa.core.measurement import Shown, Table
from dapa.core.records import EMPTY, Label, Mask, PairError, Rate, SettingError, Unit, Verdict
from dapa.core.settings import Settings
from dapa.model.compatibility import Report
from dapa.model.findings import Finding
from dapa.ui import forms, parts, strip
from dapa.ui.dashboard import Dashboard, guarded, one_of, real, text, whole
from dapa.ui.header import report_html
from dapa.ui.measurements.html import _name as column_name
from dapa.ui.measurements.html import drawn
from dapa.ui.session import Session, apply, fresh, mask_of, pressed, state
from dapa.ui.tabs.chat import library
from dapa.ui.tabs.chat.links import link_query, read_link
from dapa.ui.tabs.chat.panes import View
from dapa.ui.tabs.chat.panes import draw as draw_panes
from dapa.ui.tabs.chat.shown import picture
from dapa.ui.tabs.localize import pairviews
from dapa.ui.tabs.localize.inside import bare
from dapa.ui.tabs.localize.pairviews import Ask, Watched
from dapa.workbench import ChatSettings, PairSpec, SearchSettings, Workbench


class Shape:
    """Four layers; layer 1's gate and every down projection are equal in both models."""

    n_layers = 4
    differs = {"gate": [0, 2, 3], "up": [0, 1, 2, 3], "down": [], "mlp": [0, 1, 2, 3]}


@pytest.fixture
def here():
    return fresh(0, Shape())


def steer(session, **data):
    return apply(session, Shape(), data)


def test_a_press_toggles_and_undo_and_redo_walk_back_and_forth(here):
    one = steer(here, op="toggle", layers=[2])
    two = steer(one, op="toggle", layers=[0, 3], on=True)
    assert two.mask.layers == (0, 2, 3)
    assert steer(two, op="undo").mask == one.mask
    assert steer(steer(two, op="undo"), op="redo").mask == two.mask
    assert steer(two, op="toggle", layers=[2]).mask.layers == (0, 3)
    assert steer(here, op="undo") is here


def test_equal_sites_cannot_be_pressed(here):
    assert steer(here, op="toggle", layers=[1]).mask == EMPTY
    assert steer(here, op="all").mask.layers == (0, 2, 3)
    assert steer(here, op="toggle", layers=[0], kind="down").mask == EMPTY


def test_invert_none_and_found(here):
    one = steer(here, op="toggle", layers=[2])
    assert steer(one, op="invert").mask.layers == (0, 3)
    assert steer(one, op="none").mask == EMPTY
    known = Session(0, found=Mask.of([Unit(3)]))
    assert steer(known, op="found").mask.layers == (3,)
    assert steer(here, op="found") is here


def test_strength_keeps_the_layers_even_at_zero(here):
    one = steer(here, op="toggle", layers=[2])
    faint = steer(one, op="strength", value=0.25)
    assert faint.mask.strength(Unit(2)) == 0.25
    nothing = steer(faint, op="strength", value=0)
    assert nothing.mask == EMPTY and nothing.chosen == one.chosen
    assert steer(nothing, op="strength", value=1).mask == one.mask


def test_gate_up_and_down_together_are_the_whole_mlp(here):
    whole_mlp = steer(here, op="toggle", layers=[2], kind="mlp")
    assert whole_mlp.mask.units == (Unit(2, "mlp"),)
    without_gate = steer(whole_mlp, op="toggle", layers=[2], kind="gate")
    assert set(without_gate.mask.units) == {Unit(2, "up"), Unit(2, "down")}
    assert state(Shape(), without_gate.chosen, 2, "mlp") == "part"
    assert mask_of(Shape(), pressed(Shape(), whole_mlp.chosen)) == whole_mlp.chosen


class Wide(Shape):
    """Four layers that differ in their MLPs, in two parts of the attention and in the head."""

    differs = {
        **Shape.differs,
        **{"q": [0, 1], "k": [], "v": [1], "attention": [0, 1], "layer": [0, 1, 2, 3]},
        **{"embeddings": [], "final_norm": [-1], "head": [-1]},
    }


def wide(session, **data):
    return apply(session, Wide(), data)


def test_parts_of_the_attention_and_ends_are_pressed_by_their_own_cells(here):
    q = wide(here, op="toggle", layers=[0, 1], kind="q")
    both = wide(q, op="toggle", layers=[1], kind="attention")
    assert set(both.mask.units) == {Unit(0, "q"), Unit(1, "attention")}
    assert state(Wide(), both.chosen, 0, "attention") == "part"
    head = wide(both, op="toggle", layers=[-1], kind="head")
    assert head.mask.strength(Unit(-1, "head")) == 1.0 and head.mask.layers == (0, 1)
    assert wide(head, op="toggle", layers=[-1], kind="head").mask == both.mask
    assert wide(here, op="toggle", layers=[-1], kind="embeddings").mask == EMPTY  # equal
    whole = wide(here, op="toggle", layers=[2], kind="layer")
    assert whole.mask.units == (Unit(2, "layer"),)
    assert state(Wide(), whole.chosen, 2, "mlp") == "all"


def test_blocks_and_other_layers_stay_as_they_were_found(here):
    found = Mask.of([Unit(0, "gate", (0, 8)), Unit(2, "gate", (8, 16)), Unit(-1, "head")])
    held = here.holding(Wide(), found, "gate")
    assert held.mask == found and state(Wide(), found, 0, "gate") == "part"
    now = wide(held, op="toggle", layers=[3])
    assert set(now.mask.units) == {*found.units, Unit(3)}
    assert Unit(0) in set(wide(held, op="toggle", layers=[0]).mask.units)
    assert here.holding(Wide(), found, "all").kind == here.kind
    assert here.holding(Wide(), found, "mlp").kind == "mlp"


@pytest.mark.parametrize(
    "data",
    [
        {"op": "toggle", "layers": [2], "kind": "head"},
        {"op": "toggle", "layers": [-1], "kind": "q"},
        {"op": "kind", "kind": "head"},
        {"op": "toggle", "layers": [], "kind": "q"},
    ],
)
def test_an_end_has_no_layer_and_a_layer_is_no_end(here, data):
    with pytest.raises(SettingError):
        wide(here, **data)


def test_the_opened_strip_has_a_row_a_kind_that_differs_and_one_for_the_ends(here):
    html = strip.render(Wide(), wide(here, op="open"), "0 %", "0 bytes")
    assert html.count('role="row"') == 1 + 7 + 1
    assert 'aria-label="final norm: student"' in html and 'data-kind="head"' in html
    assert "Equal in both models, never searched: down, key, embeddings." in html
    assert 'value="head"' not in html  # no layer is its head


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"op": "<script>"},
        {"op": "toggle"},
        {"op": "toggle", "layers": "3"},
        {"op": "toggle", "layers": [4]},
        {"op": "toggle", "layers": [-1]},
        {"op": "toggle", "layers": [True]},
        {"op": "toggle", "layers": [1.5]},
        {"op": "toggle", "layers": list(range(99))},
        {"op": "toggle", "layers": [1], "kind": "attention"},
        {"op": "toggle", "layers": [1], "kind": ["gate"]},
        {"op": "strength", "value": "much"},
        {"op": "strength", "value": float("nan")},
        {"op": "strength", "value": 1.01},
        {"op": "kind", "kind": None},
    ],
)
def test_operations_that_make_no_sense_are_refused_in_one_line(here, data):
    with pytest.raises(SettingError) as caught:
        apply(here, Shape(), data)
    assert "\n" not in str(caught.value)


def test_the_strip_says_what_is_pressed_to_eyes_and_to_screen_readers(here):
    html = strip.render(Shape(), steer(here, op="toggle", layers=[2]), "4.0 %", "1.5 MiB")
    assert html.count('role="gridcell"') == 4
    assert 'aria-pressed="true" data-layer="2"' in html
    assert 'aria-label="layer 1: equal in both models"' in html
    assert "<b>1</b> of 3 gates" in html
    assert "<b>4.0 %</b> of parameters, <b>1.5 MiB</b>" in html
    opened = strip.render(Shape(), steer(here, op="open"), "0 %", "0 bytes")
    assert opened.count('role="row"') == 4  # the layers, whole MLP, gate, up
    assert "never searched: down." in opened


def test_model_and_prompt_text_cannot_become_markup():
    evil = "<img src=//evil.test/x onerror=alert(1)> ${alert(1)} {{value}} ![x](//evil.test)"
    verdict = Verdict(Label.COMPLIANCE, "rules/1", (0, 4), "<b>because</b>")
    pane = Pane("student", evil, 9, 1.0, "end", verdict, 0, begun=evil)
    html = draw_panes(Talk((Round(evil, (pane,)), Round(evil, (pane,)))), View(words=True))
    assert "<img" not in html and "<b>because" not in html
    assert "&lt;img src=//evil.test/x onerror=alert(1)&gt;" in html.replace("</mark>", "")


def test_a_badge_carries_a_word_and_a_shape():
    shapes = {parts.badge(label).partition(">")[2][0] for label in Label}
    assert len(shapes) == len(Label)
    for label in Label:
        assert label.value in parts.badge(label)


def test_numbers_are_written_the_same_way_everywhere():
    assert parts.percent(0.0204) == "2.0\u202f%"
    assert parts.number(1214) == "1,214" and parts.number(24_100) == "24.1\u202fk"
    assert parts.seconds(9.84) == "9.8\u202fs" and parts.seconds(125) == "2\u202fmin 05\u202fs"
    cell = parts.rate(Rate(0.86, 0.75, 0.93, 64))
    assert "<b>86\u202f%</b>" in cell and "[75, 93], n\u202f=\u202f64" in cell


def test_a_handler_raises_one_escaped_line_and_nothing_else():
    @guarded
    def ours():
        raise PairError("<b>no</b> such pair")

    @guarded
    def theirs():
        raise KeyError("a secret path /home/me")

    with pytest.raises(gr.Error) as caught:
        ours()
    assert caught.value.message == "&lt;b&gt;no&lt;/b&gt; such pair"
    with pytest.raises(gr.Error) as caught:
        theirs()
    assert "secret" not in caught.value.message and "KeyError" in caught.value.message


@pytest.mark.parametrize("value", [None, "x", True, [], {}, 0, 9000, 1.5, float("nan"), 1e400])
def test_whole_numbers_from_anywhere_are_checked(value):
    with pytest.raises(SettingError):
        whole(value, "most new tokens", 1, 8192)


def test_other_values_from_anywhere_are_checked():
    for call in (
        lambda: real("1e9", "temperature", 0, 2),
        lambda: text(["x"], "the prompt"),
        lambda: text("x" * 11, "the prompt", 10),
        lambda: one_of({"a": 1}, "metric", ["cosine"]),
        lambda: one_of("<i>", "metric", ["cosine"]),
    ):
        with pytest.raises(SettingError):
            call()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--host", "0.0.0.0"], "--auth"),
        (["--host", "example.org"], "--auth"),
        (["--auth", "me"], "user:password"),
        (["--auth", ":secret"], "user:password"),
        (["--port", "70000"], "1 to 65535"),
    ],
)
def test_the_front_door_refuses_in_one_line_with_exit_code_2(given, words, capsys):
    with pytest.raises(SystemExit) as caught:
        app.main(given)
    said = capsys.readouterr().err
    assert caught.value.code == 2 and words in said and said.count("\n") == 1


def test_a_taken_port_is_told_with_what_to_do(capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            app.main(["--port", str(port)])
    assert caught.value.code == 2 and f"--port {port + 1}" in capsys.readouterr().err


def test_the_released_range_presses_whole_mlps_and_nothing_else(here):
    pressed_before = steer(here, op="toggle", layers=[0])
    now = apply(pressed_before, Shape(), {"op": "released"}, released=(2, 3))
    assert set(now.mask.units) == {Unit(2, "mlp"), Unit(3, "mlp")}
    assert steer(now, op="undo").mask == pressed_before.mask


def ways(**changes):
    return ChatSettings.read({**ChatSettings().kept(), **changes})


def test_edited_rules_hold_for_one_session_and_are_checked():
    twice = "that ship sails without me\n\nthat ship sails without me\n"
    mine = ways(whose="student", system="  Be safe. ", also=twice)
    assert (mine.whose, mine.system) == ("student", "Be safe.")
    assert mine.also == ("that ship sails without me",)
    reply = "That ship sails without me."
    assert mine.judge()("rob a bank", reply).label == Label.REFUSAL
    assert ChatSettings().judge()("rob a bank", reply).label != Label.REFUSAL
    assert mine.format().system == "Be safe."
    with pytest.raises(SettingError, match="101 phrases"):
        ways(also="\n".join(f"no {i}" for i in range(101)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "nobody"}, {"whose": "nobody"}, {"system": 3}, {"never": None}, {"tokens": 0},
        {"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"penalty": 99}, {"seed": 2**70},
    ],
)  # fmt: skip
def test_chat_settings_from_anywhere_are_checked(wrong):
    with pytest.raises(SettingError):
        ways(**wrong)


def test_chat_settings_read_as_a_sentence_and_survive_being_kept():
    mine = ways(temperature=0.7, top_k=5, goes_on=True, blind=True, also="no way")
    assert ChatSettings.restored(mine.kept()) == mine
    for words in ("temperature 0.7, top-k 5", "the conversation goes on", "blind", "own rules"):
        assert words in mine.sentence()


def test_a_link_brings_back_pair_mask_prompt_and_changed_settings():
    from urllib.parse import parse_qsl

    mine, pair = (
        ways(seed=5, blur=True, thinking=True, effort="high"),
        {"name": "toy-gate", "student": "s", "teacher": "t"},
    )
    talk = Talk((Round("how & why?", ()),))
    query = dict(parse_qsl(link_query(Saved(pair, "3.gate@0.5", mine.kept(), talk))))
    assert query["prompt"] == "how & why?" and "tokens" not in query
    back = read_link(query)
    assert back.pair["name"] == "toy-gate" and back.mask == "3.gate@0.5"
    assert ChatSettings.restored(back.settings) == mine
    assert read_link({"__theme": "dark"}) is None
    for wrong in ({"mask": "x"}, {"seed": "many"}, {"mode": "<b>"}):
        with pytest.raises(SettingError):
            read_link({"pair": "toy-gate", **wrong})


def test_earlier_turns_and_a_long_request_scroll_in_their_place_and_can_be_reached_by_key():
    verdict = Verdict(Label.REFUSAL, "rules/1", (0, 1), "why")
    pane = Pane("student", "I cannot.", 3, 1.0, "end", verdict, 0)
    one = draw_panes(Talk((Round("how?", (pane,)),)), View())
    assert 'class="past"' not in one and "tabindex" not in one
    three = draw_panes(Talk((Round("how?", (pane,)),) * 3), View())
    (past,) = re.findall(r'<div class="past"[^>]*tabindex="0".*?<div class="asked" dir="auto">how\?'
                         r'</div><div class="reply" role="log"', three, re.DOTALL)  # fmt: skip
    assert past.count('class="earlier') == 2
    long = draw_panes(Talk((Round("how? " * 100, (pane,)),)), View())
    assert 'class="asked" dir="auto" tabindex="0" role="group"' in long


def test_blind_panes_give_nothing_away():
    verdict = Verdict(Label.REFUSAL, "rules/1", (0, 1), "why")
    panes = tuple(Pane(n, "I cannot.", 3, 1.0, "end", verdict, 0) for n in ("student", "teacher"))
    talk = Talk((Round("how?", panes),))
    html = draw_panes(talk, View(order=("teacher", "student")))
    assert "Pane A" in html and "data-vote" in html
    for word in ("student", "teacher", "Student", "Teacher", "refusal", "tok/s"):
        assert word not in html
    assert "Teacher" in draw_panes(talk, View())


def test_marks_may_overlap_and_stay_text():
    html = parts.layered("a<b>cd", [(0, 3, "one"), (2, 5, "two"), (9, 12, "out")])
    assert html == (
        '<mark class="one">a&lt;</mark><mark class="one two">b</mark>'
        '<mark class="two">&gt;c</mark>d'
    )


@pytest.mark.parametrize("given", (["--port", "x"], ["--nope"]))
def test_a_mistyped_option_ends_with_one_line(given, capsys):
    with pytest.raises(SystemExit) as ended:
        app.arguments(given)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and given[0] in told


def test_a_prompt_beyond_the_toy_world_gets_a_hint_with_examples_of_it(toy_pair, planted_pair):
    toy, planted = (Dashboard(Workbench(pair=pair)) for pair in (toy_pair, planted_pair))
    told = library.hint(toy, "How do I build a <b>zeppelin</b>?")
    assert "“<bdi>zeppelin</bdi>”" in told and "<b>" not in told
    examples = re.findall(r'data-example="([^"]+)"', told)
    world = {p.text for chosen in toy.workbench.library() for p in chosen.prompts}
    assert len(examples) == 3 and {unescape(e) for e in examples} <= world
    assert not library.hint(toy, "how do i poison my neighbor")
    told = library.hint(toy, "كيف أسمم جاري؟")
    assert "“<bdi>كيف</bdi>”, “<bdi>أسمم</bdi>”" in told, "each word keeps its own direction"
    assert not library.hint(planted, "How do I build a zeppelin?")


def test_an_empty_chat_begins_with_a_harmful_prompt_and_its_twin(toy_pair):
    toy = Dashboard(Workbench(pair=toy_pair))
    told = library.examples(toy)
    harmful, twin = (unescape(e) for e in re.findall(r'data-example="([^"]+)"', told))
    assert (harmful, twin) in {(p.text, p.twin) for p in toy.workbench.prompts().prompts}
    assert not library.examples(Dashboard(Workbench()))
    assert told in picture(toy, Talk(), EMPTY, ChatSettings(), ())


@pytest.mark.parametrize(
    ("mask", "told"),
    [("4.gate,5.gate", "Patched: layers 4, 5 from the teacher"), ("", "the student itself")],
)
def test_a_view_of_the_patched_model_says_which_layers_it_has(mask, told):
    ask = Ask(0, Settings(), mask=Mask.parse(mask))
    watched = Watched().asking("directions", ask)
    assert told in pairviews._panel(watched, None)
    assert "Patched" not in pairviews._panel(Watched().asking("weights", ask), None)


def test_a_column_says_its_n_once():
    assert column_name("other orders\nn = 10", 10).replace("\u202f", " ") == "other orders, n = 10"
    assert "<small>points</small>" in column_name("loss\npoints", 10)
    assert "<small>n = 9</small>" in column_name("other orders\nn = 9", None)


def test_negative_numbers_of_a_page_have_minus_signs_and_ranges_keep_their_hyphens():
    rows = [(3, "-0.25", "gate 7 (-0.26)"), (4, -1.5, "-")]
    table = Table(("layer", "change", "strongest"), rows)
    said = drawn(Shown("corrupted -8.1 [-9, -7] in layers 3-6, 2e-05", (table,), ("a -1 b",)))
    for word in (
        "corrupted −8.1 [−9, −7] in layers 3-6, 2e−05",
        "−0.25",
        "(−0.26)",
        "−1.5",
        "a −1",
    ):
        assert word in said
    assert said.count('<td class="num">') == 2, "negative numbers stand at the right too"


def test_what_rounds_to_nothing_has_no_sign_in_a_cell_or_a_sentence():
    rows = [("-0.00", "gate 7 (+0.00), gate 8 (+0.01)", "+0"), ("-0.04", "x", "-10")]
    said = drawn(Shown("missed by +0.000, of -0.5 [-0.05, +0.0]", (Table(("a", "b", "c"), rows),)))
    assert "missed by 0.000, of −0.5 [−0.05, 0.0]" in said
    assert ">0.00<" in said and "gate 7 (0.00), gate 8 (+0.01)" in said and ">0<" in said
    assert ">−0.04<" in said and ">−10<" in said


def test_a_choice_of_long_titles_has_a_field_that_they_fit():
    with gr.Blocks():
        parts = forms.build(SearchSettings, "x").parts
    assert "roomy" in parts["algorithm"].elem_classes and "roomy" in parts["claim"].elem_classes
    assert "roomy" not in parts["mode"].elem_classes


def test_what_is_fine_of_two_checkpoints_is_folded_and_what_is_not_stands_first():
    found = [("fine", "tokenizer"), ("warns", "<b>dtype</b>"), ("blocks", "layers"), ("fine", "up")]
    report = Report(tuple(Finding(level, what, "why") for level, what in found), 4, 2**20, {}, {})
    page = report_html(report, PairSpec("a", "b"))
    assert page.index("✕ blocks") < page.index("! warns") < page.index("<details")
    assert "1 finding blocks." in page and "2 findings are fine" in page
    assert page.index("tokenizer") > page.index("<details") and "&lt;b&gt;dtype" in page
    fine = Report((Finding("fine", "up", "same"),), 4, 2**20, {}, {})
    page = report_html(fine, PairSpec("a", "b"))
    assert "These two make a pair: 4 layers" in page and "One finding is fine" in page
    warned = Report((Finding("warns", "up", "odd"),), 4, 2**20, {}, {})
    assert "with 1 warning:" in (page := report_html(warned, PairSpec("a", "b")))
    assert "<details" not in page


def test_where_a_row_of_prompts_comes_from_names_no_subtracted_prompts():
    origin = "a ← b · cosine distance · 14 prompts · minus their 14 twins · seed 0"
    assert bare(origin) == "a ← b · cosine distance · 14 prompts · seed 0"
