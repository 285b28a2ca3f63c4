"""From a request to tokens: whose template, which mode, checked against the context.

What a template does with requests is `probe`'s to find; here it is held against each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from dapa.core.records import PromptError, TooLong
from dapa.model.jinja import told, written
from dapa.model.pair import Pair
from dapa.model.probe import closing, content, named_for, probed, switched, template_text
from dapa.prompts.files import checked
from dapa.prompts.format import PREFILL, PromptFormat, Turn

EFFORT = "reasoning_effort"
"""What gpt-oss's template calls it."""


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
        template = template_text(tokenizers[side])
        if template:
            return template, side
    return None, "neither"


def render(pair: Pair, turns: Sequence[Turn], how: PromptFormat, ask: bool = True) -> str:
    """Write a conversation as the text that every model of the pair reads.

    Args:
        pair: Whose templates.
        turns: The conversation; the last turn is the user's.
        how: Which mode and template, and on which date.
        ask: End with what opens the assistant's turn, where the template has such a thing.

    Raises:
        PromptError: An empty prompt, a template that cannot be used, or one in whose text a
            request does not stand.
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
        return "\n".join(turn.text for turn in turns) + (f". {PREFILL}" if ask else "")
    text = _templated(pair, template, whose, turns, how, ask)
    if how.mode != "prefill" or not ask:
        return text
    return text + closing(text) + PREFILL  # the reply begins so, not the thought before it


def _templated(
    pair: Pair, template: str, whose: str, turns: Sequence[Turn], how: PromptFormat, ask: bool
) -> str:
    tokenizer = pair.teacher_tokenizer if whose == "teacher" else pair.tokenizer
    probe = probed(tokenizer)
    if probe.fault:
        raise PromptError(f"the {whose}'s chat template {probe.fault}; choose the raw mode")
    messages = [{"role": turn.role, "content": content(turn.text, probe.parts)} for turn in turns]
    if how.system:
        messages.insert(0, {"role": "system", "content": content(how.system, probe.parts)})
    named = {**named_for(tokenizer), **switched(how.thinking and how.mode != "prefill")}
    if how.effort:
        if EFFORT not in template:
            raise PromptError(
                f"the {whose}'s chat template takes no {EFFORT}; leave the reasoning effort out"
            )
        named[EFFORT] = how.effort
    try:
        text = written(template, messages, named, how.date, ask)
    except Exception as error:  # jinja and the template's own raise_exception
        raise PromptError(
            f"the {whose}'s chat template cannot render this prompt ({told(error)}); choose the "
            "raw mode"
        ) from error
    for turn in turns:
        if turn.role == "user" and turn.text.strip() not in text:
            shown = turn.text if len(turn.text) <= 40 else f"{turn.text[:37]}..."
            raise PromptError(
                f"the {whose}'s chat template leaves out the request {shown!r}; choose the raw mode"
            )
    return text


def begins_inside(text: str, how: PromptFormat) -> bool:
    """Does a reply to this rendered prompt begin inside a thought that the template opened?"""
    return how.mode != "raw" and bool(closing(text))


def at_answer(text: str, how: PromptFormat) -> str:
    """A rendered prompt up to where the answer begins: an opened thought is closed, empty."""
    return text if how.mode == "raw" else text + closing(text)


def today() -> str:
    """The time of now, as a run keeps it for its template's clock."""
    return datetime.now().isoformat(timespec="seconds")


def told_once(left: int, every: int) -> str:
    """What to say of prompts that were left out for rendering like others."""
    if left == 1:
        return f"1 of {every} prompts renders like another and counts once"
    return f"{left} of {every} prompts render like another and count once"


def digests_of(texts: Sequence[str]) -> tuple[str, ...]:
    """A short name of each rendered prompt, which changes with it."""
    return tuple(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() for text in texts
    )


def alike(texts: Sequence[str]) -> tuple[int, ...]:
    """Places of the rendered prompts that no earlier one equals: each prompt once."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        first.setdefault(text, place)
    return tuple(first.values())


def encode(pair: Pair, text: str, how: PromptFormat, role: str = "student") -> tuple[int, ...]:
    """Token ids of a rendered prompt in one model's own vocabulary.

    Raises:
        PromptError: No token, one that the model has no embedding for, or more than the context
            holds.
    """
    tokenizer = pair.teacher_tokenizer if role == "teacher" else pair.tokenizer
    templated = how.mode != "raw" and template_of(pair, how.whose)[0] is not None
    try:
        ids = tokenizer(text, add_special_tokens=not templated)["input_ids"]
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a tokenizer's own, which is no Exception
            raise
        raise PromptError(
            f"the {role}'s tokenizer cannot read this prompt ({told(error)}); shorten it"
        ) from None
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
        raise TooLong(len(ids), pair.context_length)
    return tuple(ids)
