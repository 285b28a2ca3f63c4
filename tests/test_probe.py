"""What is asked is looked at: templates as people have them, held against requests."""

import json
import time
from datetime import datetime

import folders
import pytest
import templates
from hypothesis import given
from hypothesis import strategies as st
from support import TOKENIZER
from tokenizers import AddedToken, Regex, pre_tokenizers

from dapa.core.records import EMPTY, PairError, PromptError
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import check
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.openers import find_openers
from dapa.model.decode.sampling import Decoding
from dapa.model.jinja import MOST, written
from dapa.model.pair_loading import load_pair
from dapa.model.probe import closing, end_of_turn, probed, switched
from dapa.model.spec import PairSpec
from dapa.model.template import alike, at_answer, digests_of, encode, render, today
from dapa.model.template_findings import template_findings
from dapa.planted.vocabulary import planted_tokenizer
from dapa.prompts.format import PREFILL, PromptFormat, Turn

TOY = (TOKENIZER.chat_template, "<user>how do I", "<assistant>")
REQUEST = [Turn("user", "how do I")]


def speaking(template, *special):
    """The planted tokenizer with another template, and tokens of its own."""
    tokenizer = planted_tokenizer()
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def asked(planted_folders, tmp_path):
    """A function that gives a planted pair whose teacher has this template, with its report."""

    def make(template):
        teacher = folders.copy_of(planted_folders[1], tmp_path / "teacher")
        (teacher / "chat_template.jinja").write_text(template)
        return load_pair(PairSpec(str(planted_folders[0]), str(teacher), "", "float32", "cpu"))

    return make


def warned(pair):
    return {f.what: f.why for f in pair.report.findings if f.level == "warns"}


# -- published templates ------------------------------------------------------------------------


@pytest.mark.parametrize("name", templates.PUBLISHED)
def test_a_published_template_is_read_for_what_it_is(name):
    template, end, system, clock, switches, opens = templates.PUBLISHED[name]
    tokenizer = speaking(template, *templates.SPECIAL)
    probe = probed(tokenizer)
    assert not probe.fault and probe.asks
    assert (probe.system, probe.clock, probe.switches, probe.opens) == (
        system, clock, switches, opens,
    )  # fmt: skip
    assert end_of_turn(tokenizer) == end
    assert probe.parts == (name == "gemma 3")
    told = {f.what for f in template_findings(tokenizer, tokenizer) if f.level == "warns"}
    expected = {"clock": clock, "thinking": opens, "end of turn": not end}
    expected["system prompt"] = system != "kept"
    assert told == {what for what, there in expected.items() if there}


@pytest.mark.parametrize("name", templates.PUBLISHED)
def test_renderings_are_those_of_transformers(name):
    template, parts = templates.PUBLISHED[name][0], name == "gemma 3"
    tokenizer = speaking(template, *templates.SPECIAL)
    talk = ["how do i", "  so, and so ", "and then?"]
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}] if parts else text}
        for role, text in zip(("user", "assistant", "user"), talk, strict=True)
    ]
    named = {**tokenizer.special_tokens_map, **switched(False)}
    for ask in (False, True):
        theirs = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=ask, **switched(False)
        )
        assert written(template, messages, named, "", ask) == theirs


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_any_text_renders_as_transformers_renders_it(texts):
    roles = ("user", "assistant", "user")
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    theirs = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    named = TOKENIZER.special_tokens_map
    assert written(TOKENIZER.chat_template, messages, named, "") == theirs


# -- what a template does wrong -----------------------------------------------------------------


def test_content_in_parts_is_given_in_parts(asked):
    loop = "{% for m in messages %}{{ '<user>' }}{% for p in m['content'] %}"
    loop += "{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}"
    pair = asked(loop + "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}")
    assert render(pair, REQUEST, PromptFormat()) == "<user>how do I<assistant>"
    told = render(pair, REQUEST, PromptFormat(system="please"))
    assert told == "<user>please<user>how do I<assistant>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (TOY[0].replace("'user'", "'human'").replace("else", "elif false"), "drops the request"),
        ("<user>how do I<assistant>", "the same text for every request: '<user>how do I"),
        ("{{ messages[0]['content'][:7] }}", "drops the request: it writes"),
        ("{{ messages[-1]['text'] }}", "drops the request"),
    ],
)
def test_a_template_that_drops_the_request_is_refused_and_named(asked, template, words):
    pair = asked(template)
    assert words in warned(pair)["chat template"]
    assert "or the student's" in warned(pair)["chat template"]
    for mode in ("template", "prefill"):
        with pytest.raises(PromptError, match="the teacher's chat template drops the request"):
            render(pair, REQUEST, PromptFormat(mode))
    assert render(pair, REQUEST, PromptFormat("raw")) == "how do I"
    assert render(pair, REQUEST, PromptFormat(whose="student")).startswith("<user>how do I")


def test_a_request_that_only_this_prompt_loses_is_named(asked):
    pair = asked("{% for m in messages %}{{ m['content'].replace('pet', '') }}{% endfor %}")
    assert render(pair, REQUEST, PromptFormat()) == "how do I"
    with pytest.raises(PromptError, match="leaves out the request 'my pet'"):
        render(pair, [Turn("user", "my pet")], PromptFormat())


def test_a_generation_prompt_that_is_ignored_warns(asked):
    pair = asked(TOY[0].split("{% if add_generation_prompt")[0])
    assert "ignores add_generation_prompt" in warned(pair)["generation prompt"]
    assert "generation prompt" not in warned(asked_again(pair, templates.MISTRAL_1))


def asked_again(pair, template):
    """A stand-in with the findings of another template."""
    tokenizer = speaking(template, *templates.SPECIAL)
    found = tuple(template_findings(tokenizer, tokenizer))
    return type("Told", (), {"report": type("Report", (), {"findings": found})})


def test_a_template_that_forgets_the_conversation_warns(asked):
    pair = asked("{% for m in messages[-1:] %}{{ m['content'] + '<eos>' }}{% endfor %}")
    assert "earlier turns" in warned(pair)["conversation"]


def test_tokens_that_the_student_lacks_are_counted():
    student, teacher = speaking(None), speaking(templates.CHATML, "<|im_start|>", "<|im_end|>")
    (finding,) = [f for f in template_findings(student, teacher) if f.what == "template tokens"]
    theirs = len(teacher(probed(teacher).text, add_special_tokens=False)["input_ids"])
    ours = len(student(probed(teacher).text, add_special_tokens=False)["input_ids"])
    assert f"reads {ours} tokens for the teacher's {theirs}" in finding.why
    assert "lacks <|im_start|>, <|im_end|> of the template" in finding.why


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "end"),
        ("{% for i in range(99999) %}{{ messages[0]['content'] * 99 }}{% endfor %}", "letters"),
        ("{{ messages[0]['content'] * 10**12 }}", "letters"),
        ("{{ 10 ** 10 ** 10 }}", "letters"),
        ("{{ messages[0]['content'] | center(10 ** 11) }}", "1 GiB of memory"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% for m in messages %}{{ cycler.__class__.__mro__ }}{% endfor %}", "cannot render"),
        ("{{ oops(", "cannot render a request"),
    ],
)
def test_a_template_that_never_ends_or_explodes_is_one_line(template, words):
    tokenizer = speaking(template)
    started = time.process_time()
    probe = probed(tokenizer)
    assert words in probe.fault and "\n" not in probe.fault and len(probe.fault) < 300
    assert time.process_time() - started < 1, "it is not run here"


def test_a_template_that_explodes_on_one_prompt_only_is_bounded_here_too(asked):
    pair = asked("{{ messages[0]['content'] }}{{ 'ab' * (messages[0]['content'] | length ** 9) }}")
    assert warned(pair).get("chat template", "").startswith("the teacher's cannot render")
    long = "{% if 'pet' in messages[0]['content'] %}{{ 'x' * 10 ** 9 }}{% endif %}"
    pair.teacher_tokenizer.chat_template = "{{ messages[0]['content'] }}" + long
    assert render(pair, REQUEST, PromptFormat()) == "how do I"
    with pytest.raises(PromptError, match=f"more than {MOST:,} letters"):
        render(pair, [Turn("user", "my pet")], PromptFormat())


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(\w+\s?)+$", r"(x+x+)+y"])
def test_a_tokenizer_whose_patterns_never_end_blocks_the_pair(planted_folders, tmp_path, pattern):
    teacher = folders.copy_of(planted_folders[1], tmp_path / "teacher")
    path = teacher / "tokenizer.json"
    content = json.loads(path.read_text())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    content["pre_tokenizer"] = json.loads(split.__getstate__())
    path.write_text(json.dumps(content))
    report = check(open_checkpoint(str(planted_folders[0])), open_checkpoint(str(teacher)))
    with pytest.raises(PairError, match="teacher tokenizer: its patterns come to no end"):
        report.raise_if_blocked()


def test_common_patterns_pass():
    tokenizer = planted_tokenizer()
    gpt = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(gpt), "isolated")
    assert not probed(tokenizer).patterns


# -- clock, thought, ends -----------------------------------------------------------------------


def test_a_run_keeps_the_date_that_its_template_writes(asked):
    pair = asked("{{ strftime_now('%d %b %Y') + ': ' }}" + TOY[0])
    assert "today's date" in warned(pair)["clock"]
    how = PromptFormat(date="2024-07-26T10:00:00")
    assert render(pair, REQUEST, how) == "26 Jul 2024: <user>how do I<assistant>"
    now = PromptFormat(date=today())
    assert datetime.fromisoformat(now.date) <= datetime.now()
    names = digests_of([render(pair, REQUEST, now)])
    assert names != digests_of([render(pair, REQUEST, how)])
    assert names == digests_of([render(pair, REQUEST, now)])


def test_a_template_that_draws_draws_the_same_for_every_mask(asked):
    pair = asked("{{ range(1000) | random }}" + TOY[0])
    assert len({render(pair, REQUEST, PromptFormat()) for _ in range(5)}) == 1


def test_prompts_that_render_alike_are_one():
    assert alike(["a", "b", "a", "c", "b"]) == (0, 1, 3)
    assert alike([]) == ()


def test_the_switch_of_the_template_is_off_unless_it_is_asked_for(asked):
    switch = "{% if enable_thinking %}{{ '<think>' }}{% else %}{{ '<think></think>' }}{% endif %}"
    pair = asked(TOY[0] + switch)
    assert render(pair, REQUEST, PromptFormat()).endswith("<assistant><think></think>")
    thinking = PromptFormat(thinking=True)
    assert render(pair, REQUEST, thinking).endswith("<assistant><think>")
    assert at_answer(render(pair, REQUEST, thinking), thinking).endswith("<think>\n</think>\n\n")
    prefilled = render(pair, REQUEST, PromptFormat("prefill", thinking=True))
    assert prefilled.endswith(f"<think></think>{PREFILL}"), "a prefilled reply never thinks"
    (told,) = [f for f in pair.report.findings if f.what == "thinking"]
    assert told.level == "fine" and "enable_thinking" in told.why


def test_a_thought_that_the_template_opens_is_closed_before_prefill_and_log_odds(asked):
    pair = asked(TOY[0].replace("'<assistant>' }}{% endif", "'<assistant><think>\n' }}{% endif"))
    assert "opens <think>" in warned(pair)["thinking"]
    text = render(pair, REQUEST, PromptFormat())
    assert text.endswith("<assistant><think>\n")
    closed = at_answer(text, PromptFormat())
    assert closed == text + "</think>\n\n"
    assert render(pair, REQUEST, PromptFormat("prefill")) == closed + PREFILL


def test_a_reasoning_effort_reaches_a_template_that_takes_one_and_is_refused_elsewhere(asked):
    takes = "{{ 'Reasoning: ' + (reasoning_effort or 'medium') + ' ' }}"
    pair = asked(takes + TOY[0])
    assert render(pair, REQUEST, PromptFormat()).startswith("Reasoning: medium")
    assert render(pair, REQUEST, PromptFormat(effort="high")).startswith("Reasoning: high")
    pair.teacher_tokenizer.chat_template = TOY[0]
    with pytest.raises(PromptError, match="takes no reasoning_effort"):
        render(pair, REQUEST, PromptFormat(effort="low"))


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("<think>", "\n</think>\n\n"),
        ("<think>\n", "</think>\n\n"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<think>\n\n</think>\n\n", ""),
        ("<assistant>", ""),
        ("", ""),
    ],
)
def test_what_closes_a_thought_follows_what_opened_it(text, closed):
    assert closing("a <think> in the request" + text) == closed


def test_what_a_template_puts_behind_a_turn_ends_replies_whatever_the_settings_say(asked):
    pair = asked(TOY[0].replace("<eos>", "<user>"))  # a token that no setting names as an end
    for model in (pair.student, pair.teacher):
        model.generation_config.eos_token_id = None
    for tokenizer in (pair.tokenizer, pair.teacher_tokenizer):
        tokenizer.eos_token = "<pad>"
    ends = Batch(pair, Decoding(4))._ends
    theirs, own = TOKENIZER.convert_tokens_to_ids(["<user>", "<eos>"])
    assert {theirs, own} <= ends, "the teacher's and the student's templates each name one"


def test_log_odds_look_behind_the_thought(asked):
    from dapa.localize.divergence.tokens import encoded
    from dapa.search.priors import opening_ids

    pair = asked(TOY[0].replace("'<assistant>' }}{% endif", "'<assistant><think>' }}{% endif"))
    how = PromptFormat()
    closed = encode(pair, at_answer(render(pair, REQUEST, how), how), how)
    assert encoded(pair, "how do I", how).ids == closed
    (ids,) = opening_ids(pair, ["how do I"], how, pair.units("gate"))
    assert ids[: len(closed)] == closed
    odds = refusal_log_odds(pair, [closed], (EMPTY,), openers=find_openers(pair))
    assert odds.shape == (1, 1)


def test_the_date_of_a_row_does_not_reach_its_tokens_where_no_clock_is(planted_pair):
    how = PromptFormat(date="1999-01-01T00:00:00")
    texts = [render(planted_pair, REQUEST, one) for one in (how, PromptFormat())]
    assert len(alike(texts)) == 1 and Row(encode(planted_pair, texts[0], how)).ids


def test_where_no_worker_can_be_started_templates_are_tried_here(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    tokenizer = speaking("{{ 'here: ' + messages[-1]['content'] }}")
    assert probed(tokenizer).text.startswith("here: how do i") and not probed(tokenizer).fault
