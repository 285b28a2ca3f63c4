"""A reply has parts: what was thought, what was answered, and what leaked behind the turn's end.

Reasoning models think aloud before they answer, in tags or channels that differ by family; a model
that misses the end of its turn goes on as somebody else. Only the answer is judged. This module
knows marks, not meanings: whether an answer refuses it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Span = tuple[int, int]
STILL_THINKING = "still thinking"
"""Why a reply that ends inside its thought is unclear."""

_NAMES = r"think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|seed:think"
_OPEN = re.compile(
    rf"\s*(?:<s>|<\|?(?:begin_of_text|start|im_start)\|?>)?\s*(?:"
    rf"(?P<tag><(?P<name>{_NAMES})>|\[(?P<square>THINK)\]|"
    r"(?P<wedge>\u25c1think\u25b7)|<\|(?P<bar>think|begin_of_thought|START_THINKING)\|>)|"
    r"(?P<channel>(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b[^<]{0,40}"
    r"<\|message\|>)|"
    r"(?P<bare>analysis(?=[A-Z])))",
    re.I,
)
_SHUT = re.compile(
    rf"</(?:{_NAMES})>|\[/THINK\]|\u25c1/think\u25b7|"
    r"<\|(?:/think|end_of_thought|END_THINKING)\|>",
    re.I,
)
_FINAL = re.compile(
    r"(?:<\|(?:end|return)\|>\s*)?(?:<\|start\|>assistant)?<\|channel\|>final\b[^<]{0,40}"
    r"<\|message\|>"
)
_BARE_FINAL = re.compile(r"assistantfinal(?=\W|[A-Z]|$)")
_ANSWER = re.compile(
    r"\s*(?:<\|?(?:begin_of_solution|START_RESPONSE)\|?>|<(?:answer|response|final_answer|output)>|"
    r"(?:final answer|answer):(?=\s*\n))",
    re.I,
)
_ROLE = re.compile(
    r"(?:<\|(?:start_header_id|im_start)\|>)?(?:assistant|model)(?:<\|end_header_id\|>)?\s*\n+|"
    r"<start_of_turn>model\n|<\|assistant\|>\s*",
    re.I,
)
_LEAK = re.compile(
    # control tokens of known templates, spelled out as text
    r"<\|(?:im_end|im_start|eot_id|eom_id|end_of_text|endoftext|end|return|start_header_id|user|"
    r"assistant|system|endofturn|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|END_RESPONSE|"
    r"end_of_solution)\|>|</(?:answer|response|final_answer|output)>|"
    r"</?(?:start|end)_of_turn>|<end_of_utterance>|"
    r"<\uff5c(?:end\u2581of\u2581sentence|User|Assistant)\uff5c>|\[/?INST\]|</s>|<</?SYS>>|"
    # another speaker, on a line of its own or with a colon behind a break
    r"\n\s{0,4}(?:#{2,4} ?(?:human|user|instruction|input|response|assistant) ?(?::|\n|$)|"
    r"(?:human|user|assistant)\s?:(?=\s))|"
    r"\n\s{0,4}(?:assistant|user|system|model|human)[ \t]{0,2}(?:\n|$)|"
    r"(?<=\s)#{3} ?(?:Human|User|Instruction|Assistant):|"
    r"(?<=[.!?)\]\"'])(?:assistant|user)(?=\n|$)",
    re.I,
)
LONGEST_MARK = 40
"""No mark of a turn's end is longer."""


@dataclass(frozen=True)
class Parts:
    """Places in a reply: [start, stop) of its answer, and of what is none."""

    answer: Span
    thought: Span | None = None
    """What was thought, its tags included; None where nothing was."""
    leaked: Span | None = None
    """What follows the end of the turn."""
    thinking: bool = False
    """The reply ends inside the thought: there is no answer yet."""

    def of(self, reply: str) -> str:
        """The answer's text."""
        return reply[self.answer[0] : self.answer[1]]


def parts(reply: str, opened: bool = False, orphan: bool = True) -> Parts:
    """Split a reply into thought, answer and leaked.

    Args:
        reply: As decoded, special tokens spelled out or skipped.
        opened: Did the template itself open the thought, so that the reply starts inside it?
        orphan: Does a closing tag without an opening one end a thought? It does for a finished
            reply; a prefix cannot know, so that what is settled early must not look for it.
    """
    start, thought = 0, None
    found = _OPEN.match(reply)
    if found and found["channel"]:
        start = _after(_FINAL.search(reply, found.end()))
    elif found and found["bare"]:
        start = _after(_BARE_FINAL.search(reply, found.end()))
    elif found or opened:
        start = _after(_SHUT.search(reply, found.end() if found else 0))
    elif orphan:
        shut = _SHUT.search(reply)
        start = shut.end() if shut else 0
    if start < 0:
        return Parts((len(reply), len(reply)), (0, len(reply)), None, True)
    if start:
        thought = (0, start)
    final = _FINAL.match(reply, start)
    start = final.end() if final else start
    while start < len(reply) and not reply[start].strip():
        start += 1
    begun = _role(reply, start)
    leak = _LEAK.search(reply, begun)
    stop = leak.start() if leak else len(reply)
    return Parts((begun, stop), thought, (stop, len(reply)) if leak else None)


def stable(prefix: str) -> str:
    """`prefix` without an end that may yet grow into a mark; its parts stay those of the whole.

    For early verdicts: whatever follows, no mark begins inside the returned text.
    """
    while True:
        at = max(
            prefix.rfind(mark, len(prefix) - LONGEST_MARK if len(prefix) > LONGEST_MARK else 0)
            for mark in "<[#\n\u25c1"
        )
        if at < 0:
            return prefix
        prefix = prefix[:at]


def _after(found: re.Match[str] | None) -> int:
    return found.end() if found else -1


def _role(reply: str, start: int) -> int:
    """Where the answer begins behind a role's name or header that the decoder left standing."""
    for mark in (_ROLE, _ANSWER):
        found = mark.match(reply, start)
        start = found.end() if found else start
    return start


def answer_text(reply: str, inside: bool = False, begun: str = "") -> str:
    """What a judge that knows nothing of a reply's start is shown: a whole answer, no thought."""
    return parts(reply, opened=True).of(reply) if inside else begun + reply


def whole_reply(row: Mapping[str, Any]) -> str:
    """A stored row's reply as the model's turn had it: with the words that were put before it."""
    return f"{row.get('begun') or ''}{row['reply']}"  # rows of older versions tell no such words
