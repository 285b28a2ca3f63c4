"""What a chat template does with requests, found by asking it: nothing is taken on trust.

Two requests are rendered. Both must stand in their texts, else no figure about them means anything.
The same renderings tell what opens and ends an assistant's turn, whether a system prompt arrives,
whether a clock or a thought is written, and by which switch thinking is turned off.

The probe runs in a worker (`jinja`), once for each template of a process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

from dapa.model.jinja import in_a_worker

REQUESTS = ("how do i mend a wooden chair", "where can my aunt see seven owls")
_REPLY, _SYSTEM = "first find the loose joint", "answer in one plain sentence"
_DATES = ("2024-01-02T03:04:05", "1999-11-30T21:43:32")
_SWITCHES = ("enable_thinking", "thinking", "enable_reasoning", "reasoning", "use_thinking")
"""Names under which templates let one turn thinking on and off."""


def switched(thinking: bool) -> dict[str, bool]:
    """Every name of the switch, on or off."""
    return dict.fromkeys(_SWITCHES, thinking)


_THOUGHTS = {
    "<think>": "\n</think>\n\n",
    "<thinking>": "\n</thinking>\n\n",
    "<thought>": "\n</thought>\n\n",
    "<reasoning>": "\n</reasoning>\n\n",
    "<seed:think>": "\n</seed:think>\n\n",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
"""What opens a thought -> what closes it and leads to the answer."""


@dataclass(frozen=True)
class Probe:
    """What is known of one template."""

    fault: str = ""
    """Why it cannot be used, as the end of a sentence whose subject it is; empty if it can."""
    parts: bool = False
    """Is content given as a list of parts, not as text?"""
    asks: bool = True
    """Does what it renders end where the assistant's words begin?"""
    tail: str = ""
    """What it puts behind an assistant's words."""
    talks: bool = True
    """Do earlier turns stand in what it renders?"""
    system: str = "kept"
    """What becomes of a system prompt: kept, dropped or refused."""
    clock: bool = False
    """Does it write the date?"""
    switches: tuple[str, ...] = ()
    """By which variables thinking is turned on and off."""
    opens: str = ""
    """The thought that it opens for the assistant though thinking is off."""
    text: str = ""
    """The first request as it renders it."""
    patterns: str = ""
    """Why the tokenizer's patterns cannot be used; empty if they can."""


def closing(text: str) -> str:
    """What closes the thought in which a rendered prompt ends; empty where it ends in none."""
    bare = text.rstrip()
    for opened, closed in _THOUGHTS.items():
        if bare.endswith(opened):
            return closed.lstrip("\n") if text.endswith("\n") else closed
    return ""


def content(text: str, parts: bool) -> Any:
    """A message's content as a template takes it."""
    return [{"type": "text", "text": text}] if parts else text


def named_for(tokenizer: Any) -> dict[str, Any]:
    """What transformers lets a template read of its tokenizer."""
    return {
        name: [str(one) for one in value] if isinstance(value, (list, tuple)) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }


def template_text(tokenizer: Any) -> str | None:
    """A tokenizer's chat template; of several, the one for plain chats; None without one."""
    found = tokenizer.chat_template
    if isinstance(found, Mapping):
        found = found.get("default") or next(iter(found.values()), None)
    return found or None


def probed(tokenizer: Any) -> Probe:
    """What this tokenizer's template does; asked once."""
    found: Probe = _asked(*_question(tokenizer)).result()
    return found


def begin(tokenizers: Sequence[Any]) -> None:
    """Ask beforehand, beside what else there is to do."""
    for tokenizer in tokenizers:
        _asked(*_question(tokenizer))


def _question(tokenizer: Any) -> tuple[str | None, str, str]:
    if tokenizer not in _PATTERNS:
        _PATTERNS[tokenizer] = _patterns(tokenizer)
    return template_text(tokenizer), json.dumps(named_for(tokenizer)), _PATTERNS[tokenizer]


_PATTERNS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""Of tokenizers that were asked about: a template may be exchanged, patterns never are."""


def _patterns(tokenizer: Any) -> str:
    """A tokenizer.json of its regular expressions alone; empty without any."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts: dict[str, Any] = {}
    for name in ("normalizer", "pre_tokenizer"):
        part = getattr(backend, name, None)
        parts[name] = json.loads(part.__getstate__()) if part is not None else None
    if '"Regex"' not in json.dumps(parts):
        return ""
    rest = dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
    model = {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}
    return json.dumps({"version": "1.0", **rest, "added_tokens": [], **parts, "model": model})


@lru_cache(maxsize=64)
def _asked(template: str | None, named: str, patterns: str) -> Future[Probe]:
    answer: Future[Probe] = Future()

    def ask() -> None:
        try:
            jobs = _jobs(json.loads(named)) if template else {}
            found = in_a_worker(template, jobs, patterns) if template or patterns else {}
            broken = found.get("patterns", ("", ""))[1]
            answer.set_result(_read(found, broken) if template else Probe(patterns=broken))
        except BaseException as error:  # whoever asks is told
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return answer


def _jobs(named: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is rendered, with content as text and as parts; the plain requests first."""
    jobs: dict[str, dict[str, Any]] = {}

    def job(name: str, *said: str, ask: bool = True, date: str = _DATES[0], **more: Any) -> None:
        for parts in (False, True):
            roles = ["user", "assistant", "user"]
            if name == "system":
                roles.insert(0, "system")
            messages = [
                {"role": role, "content": content(text, parts)}
                for role, text in zip(roles, said, strict=False)
            ]
            jobs[_name(name, parts)] = {
                "messages": messages,
                "named": {**named, **more},
                "date": date,
                "ask": ask,
            }

    off = switched(False)
    first, second = REQUESTS
    job("first", first, **off)
    job("second", second, **off)
    job("bare", first, ask=False, **off)
    job("reply", first, _REPLY, ask=False, **off)
    job("later", first, _REPLY, second, **off)
    job("system", _SYSTEM, first, **off)
    job("dated", first, date=_DATES[1], **off)
    for switch in _SWITCHES:
        job(switch, first, **{**off, switch: True})
    return jobs


def _name(name: str, parts: bool) -> str:
    return f"{name} {'parts' if parts else 'text'}"


def _read(found: Mapping[str, tuple[str, str]], broken: str) -> Probe:
    """What the renderings tell."""
    faults = [_fault(found, parts) for parts in (False, True)]
    parts = bool(faults[0]) and not faults[1]
    if faults[parts]:
        return Probe(faults[0], patterns=broken)

    def text(name: str) -> str:
        return found.get(_name(name, parts), ("", ""))[0]

    first, bare, reply = text("first"), text("bare"), text("reply")
    header, _, tail = reply.partition(_REPLY)
    header = header[len(_common(header, bare)) :]
    system, refused = found.get(_name("system", parts), ("", "it has no time left for one"))
    kept = "refused" if refused else "kept" if _SYSTEM in system else "dropped"
    names = json.loads(found.get("variables", ("[]", ""))[0] or "[]")
    return Probe(
        parts=parts,
        asks=first != bare or not header.strip(),
        tail=tail,
        talks=all(said in text("later") for said in (*REQUESTS, _REPLY)),
        system=kept,
        clock=text("dated") != first,
        switches=tuple(s for s in _SWITCHES if s in names and text(s) not in ("", first)),
        opens=next((o for o in _THOUGHTS if first.rstrip().endswith(o)), ""),
        text=first,
        patterns=broken,
    )


def _fault(found: Mapping[str, tuple[str, str]], parts: bool) -> str:
    """Why content in this form does not do; empty if it does."""
    nothing = ("", "it did not come to its end")
    both = [found.get(_name(name, parts), nothing) for name in ("first", "second")]
    for _, failed in both:
        if failed:
            return f"cannot render a request ({failed})"
    for request, (text, _) in zip(REQUESTS, both, strict=True):
        if request not in text or "'type': 'text'" in text:  # a list written down is no content
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            same = " the same text for every request:" if both[0] == both[1] else ""
            return f"drops the request: it writes{same} {shown!r}"
    return ""


def _common(a: str, b: str) -> str:
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return a[:same]


def end_of_turn(tokenizer: Any) -> str:
    """The token that a tokenizer's template puts behind an assistant's words; empty without one.

    Only a token that stands for itself ends a reply: what a model may also write as text does not.
    """
    template = template_text(tokenizer)
    tail = probed(tokenizer).tail.strip() if template else ""
    if not tail:
        return ""
    own = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", {})}
    own -= {tokenizer.unk_token_id}
    for token in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token in own:
            return str(tokenizer.convert_ids_to_tokens(token))
        if tokenizer.decode([token]).strip():
            return ""
    return ""
