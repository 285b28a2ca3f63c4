"""From a request to tokens: whose template, which mode, checked against the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dapa.core.records import PromptError
from dapa.model.pair import Pair
from dapa.prompts.files import checked
from dapa.prompts.format import PREFILL, PromptFormat, Turn


def clean(text: str) -> str:
    """A typed prompt, as it is; PromptError if no model can read it or nothing is there to read."""
    if not checked(text, "the prompt"):
        raise PromptError("the prompt is empty; write a question first")
    return text


def readable(text: str) -> str:
    """What a model wrote, without what no tokenizer takes back."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def template_of(pair: Pair, whose: str) -> tuple[str | None, str]:
    """The chat template to use and whose it is; the other model's where the wanted one has none."""
    order = ("teacher", "student") if whose == "teacher" else ("student", "teacher")
    tokenizers = {"teacher": pair.teacher_tokenizer, "student": pair.tokenizer}
    for side in order:
        if tokenizers[side].chat_template:
            return tokenizers[side].chat_template, side
    return None, "neither"


def render(pair: Pair, turns: Sequence[Turn], how: PromptFormat) -> str:
    """Write a conversation as the text that every model of the pair reads.

    Raises:
        PromptError: An empty prompt, or a template that cannot be used.
    """
    turns = [
        Turn(turn.role, clean(turn.text) if turn.role == "user" else readable(turn.text))
        for turn in turns
    ]
    checked(how.system, "the system prompt")
    template, whose = template_of(pair, how.whose)
    if how.mode == "raw" or (template is None and how.mode == "template"):
        return "\n".join(turn.text for turn in turns)
    if template is None:  # prefill without a template, as the released scripts do it
        return "\n".join(turn.text for turn in turns) + f". {PREFILL}"
    tokenizer = pair.teacher_tokenizer if whose == "teacher" else pair.tokenizer
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    if how.system:
        messages.insert(0, {"role": "system", "content": how.system})
    try:
        text: Any = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # jinja and the template's own raise_exception
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PromptError(
            f"the {whose}'s chat template cannot render this prompt ({first}); choose the raw mode"
        ) from error
    return str(text) + (PREFILL if how.mode == "prefill" else "")


def encode(pair: Pair, text: str, how: PromptFormat, role: str = "student") -> tuple[int, ...]:
    """Token ids of a rendered prompt in one model's own vocabulary.

    Raises:
        PromptError: No token, one that the model has no embedding for, or more than the context
            holds.
    """
    tokenizer = pair.teacher_tokenizer if role == "teacher" else pair.tokenizer
    templated = how.mode != "raw" and template_of(pair, how.whose)[0] is not None
    ids = tokenizer(text, add_special_tokens=not templated)["input_ids"]
    if not ids:
        raise PromptError("the prompt has no token in this model's vocabulary; write words")
    model = pair.teacher if role == "teacher" else pair.student
    rows = model.get_input_embeddings().weight.shape[0]
    if max(ids) >= rows:
        unknown = tokenizer.convert_ids_to_tokens(max(ids))
        raise PromptError(
            f"the prompt holds {unknown!r}, which the {role}'s tokenizer knows but its {rows:,} "
            "embeddings do not; choose the raw mode or the other model's template"
        )
    if len(ids) >= pair.context_length:
        raise PromptError(
            f"the prompt has {len(ids):,} tokens and the context holds {pair.context_length:,}; "
            "shorten it"
        )
    return tuple(ids)
