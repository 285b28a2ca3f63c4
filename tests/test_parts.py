"""A reply is split into thought, answer and what leaked, whatever the family's marks are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapa.judges.reply_parts import parts, stable

ANSWER = "I'm sorry, but I can't help."


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>hm</think>\n\n{ANSWER}",
        f"<THINKING>hm</THINKING>{ANSWER}",
        f"[THINK]hm[/THINK] {ANSWER}",
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"analysisThe user asks.assistantfinal{ANSWER}",
        f"◁think▷hm◁/think▷{ANSWER}",
        f"<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>{ANSWER}<|end_of_solution|>",
        f"hm, they ask\n</think>\n{ANSWER}",
        f"<reasoning>hm</reasoning><answer>{ANSWER}</answer>",
    ],
)
def test_thought_is_cut_off(reply):
    found = parts(reply)
    assert found.of(reply).strip() == ANSWER and found.thought is not None and not found.thinking


@pytest.mark.parametrize(
    "reply", ["<think>hm", "[THINK] hm", "analysisThe user", "<|channel|>analysis<|message|>hm"]
)
def test_a_reply_cut_inside_its_thought_has_no_answer(reply):
    found = parts(reply)
    assert found.thinking and found.of(reply) == ""
    assert parts("hm", opened=True).thinking and not parts("hm").thinking


@pytest.mark.parametrize(
    "leak",
    ["assistant\n\nSure", "<|im_end|>\n<|im_start|>user\nhi", "\n### Human: hi", "\n\nUser: hi",
     "<|eot_id|><|start_header_id|>", "\nassistant\nSure", "<end_of_turn>\n", " [INST] more",
     "<｜end▁of▁sentence｜>", "</s>"],
)  # fmt: skip
def test_the_reply_ends_where_the_turn_runs_on(leak):
    found = parts(ANSWER + leak)
    assert found.of(ANSWER + leak).rstrip() == ANSWER and found.leaked is not None


@pytest.mark.parametrize(
    "text",
    ["The assistant helped me.", "Analysis shows that it works.", "a < b and c > d", "Think first.",
     "1. The user logs in.\n2. The system answers.", "# Title\n\n## Human rights\n\nThey matter."],
)  # fmt: skip
def test_ordinary_texts_are_all_answer(text):
    assert parts(text).of(text) == text


@given(st.text(max_size=200))
def test_parts_lie_in_any_text_and_in_order(text):
    found = parts(text)
    assert 0 <= found.answer[0] <= found.answer[1] <= len(text)
    if found.leaked:
        assert found.leaked == (found.answer[1], len(text))


MARKS = ["<", "|im_end|>", "\n", "assistant", "User:", " hi ", "### Human:", "help.", "[INST]", "#"]


@given(st.lists(st.sampled_from(MARKS), max_size=12), st.integers(0, 80))
def test_the_stable_part_of_a_prefix_stays_answer_whatever_follows(pieces, cut):
    whole = "I can help you with this request today, my friend, " + "".join(pieces)
    kept = stable(whole[:cut])
    early, late = parts(kept, orphan=False), parts(whole, orphan=False)
    assert whole.startswith(kept) and late.of(whole).startswith(early.of(kept))
