"""Questions to a chat model over an OpenAI-compatible endpoint, through the official client.

Timeouts and retries with growing pauses are the client's; calls are paced, run side by side, and
counted with their tokens and cost. A call that fails in the end says so in a few words without the
server's text, which may hold the key. The key comes from an environment variable and is never
logged, stored or shown; prompts and replies do leave the machine, to the address that was given.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from dapa.core.records import SettingError
from dapa.judges.reply_parts import parts

KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Endpoint:
    """Whom to ask, and how patiently."""

    url: str
    """The base address, as in http://localhost:8000/v1."""
    model: str
    key: str = KEY
    """Name of the environment variable that holds the key; servers that need none ignore it."""
    timeout: float = 60.0
    """Seconds that one attempt may take."""
    retries: int = 2
    """Further attempts after a timeout, a lost connection, 408, 409, 429 or a server's error."""
    per_minute: float | None = None
    """Questions begun in a minute at most."""
    workers: int = 4
    """Questions in flight at most."""
    max_tokens: int = 200
    """Tokens of an answer at most."""
    price: tuple[float, float] = (0.0, 0.0)
    """Cost of a million tokens read and written, in whatever currency."""

    def __post_init__(self) -> None:
        """SettingError for what cannot be asked."""
        parts = urlsplit(self.url)
        if "@" in parts.netloc:  # never echoed: it may hold a password
            raise SettingError("the endpoint's address holds a user; name a key's variable instead")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SettingError(
                f"endpoint {self.url!r} is no address; give one such as http://localhost:8000/v1"
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key):  # perhaps the key itself
            raise SettingError("key is the name of an environment variable, not the key itself")
        if not self.model.strip():
            raise SettingError("the endpoint needs a model's name; give model=NAME")
        checks = (
            (self.timeout > 0, "timeout", self.timeout, "above 0 seconds"),
            (0 <= self.retries <= 20, "retries", self.retries, "0 to 20"),
            (1 <= self.workers <= 256, "workers", self.workers, "1 to 256"),
            (self.max_tokens >= 1, "answer tokens", self.max_tokens, "1 or more"),
            (min(self.price) >= 0, "price", self.price, "0 or more"),
            (
                self.per_minute is None or self.per_minute > 0,
                "questions a minute",
                self.per_minute,
                "above 0",
            ),
        )
        for fine, what, value, allowed in checks:
            if not fine:
                raise SettingError(f"{what} is {value}; choose {allowed}")


@dataclass(frozen=True)
class Spend:
    """What was asked, and what it cost."""

    calls: int = 0
    failed: int = 0
    read: int = 0
    """Tokens of the questions, as the server counts them."""
    written: int = 0
    """Tokens of the answers."""
    cost: float = 0.0

    def as_dict(self) -> dict[str, float | int]:
        """The JSON form."""
        return {
            "calls": self.calls,
            "failed": self.failed,
            "tokens_read": self.read,
            "tokens_written": self.written,
            "cost": self.cost,
        }


_NO_FORM = (400, 404, 415, 422, 501)
"""What servers say that know no `response_format`."""


class CallFailed(Exception):
    """No answer, after all attempts; the text is ours and holds nothing of the server's."""


class Pace:
    """At most so many starts a minute, evenly spread; any number of threads may wait."""

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` and `sleep` are for tests."""
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Until it is this caller's turn."""
        if not self._gap:
            return
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap
        if turn > now:
            self._sleep(turn - now)


class Caller:
    """Asks one endpoint; threads share it."""

    def __init__(self, endpoint: Endpoint, pace: Pace | None = None) -> None:
        """Make the client; nothing is sent yet.

        Raises:
            SettingError: The client's package is missing.
        """
        try:
            import openai
        except ImportError:
            raise SettingError(
                "a chat-model judge needs the openai package; pip install 'dapa-dashboard[openai]'"
            ) from None
        self.endpoint = endpoint
        self._pace = pace or Pace(endpoint.per_minute)
        self._spend = Spend()
        self._lock = threading.Lock()
        self._forms = True
        self._errors: Any = openai
        self._client: Any = openai.OpenAI(
            base_url=endpoint.url,
            api_key=os.environ.get(endpoint.key) or "none",  # local servers ask for none
            timeout=endpoint.timeout,
            max_retries=endpoint.retries,
        )

    @property
    def spend(self) -> Spend:
        """So far."""
        with self._lock:
            return self._spend

    def ask(self, system: str, user: str, form: Mapping[str, Any] | None = None) -> str:
        """One answer, greedily, without what was thought first.

        Args:
            system: The system message.
            user: The question.
            form: A `response_format`; left out from then on where the server refuses it.

        Raises:
            CallFailed: After the last attempt, or where there is no answer.
        """
        self._pace.wait()
        try:
            answer = self._create(system, user, form)
        except self._errors.APIStatusError as error:
            self._count(failed=1)
            raise CallFailed(f"call failed: the server said {error.status_code}") from None
        except self._errors.APITimeoutError:
            self._count(failed=1)
            raise CallFailed(f"call failed: no answer in {self.endpoint.timeout:g} s") from None
        except self._errors.APIConnectionError:
            self._count(failed=1)
            raise CallFailed("call failed: no connection") from None
        except (self._errors.OpenAIError, ValueError, TypeError, AttributeError):
            self._count(failed=1)
            raise CallFailed("call failed: the answer is no chat completion") from None
        usage = getattr(answer, "usage", None)
        read, written = (_tokens(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        try:
            said = _said(answer)
        except CallFailed:
            self._count(1, read, written)
            raise
        self._count(0, read, written)
        return said

    def _create(self, system: str, user: str, form: Mapping[str, Any] | None) -> Any:
        """Ask, with the form first and without it where the server says that it takes none."""
        asked: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": user},
            ],
            "temperature": 0.0,
            "max_tokens": self.endpoint.max_tokens,
        }
        if form is None or not self._forms:
            return self._client.chat.completions.create(**asked)
        try:
            return self._client.chat.completions.create(**asked, response_format=form)
        except self._errors.APIStatusError as error:
            if error.status_code not in _NO_FORM:
                raise
        answer = self._client.chat.completions.create(**asked)
        self._forms = False  # a race costs one more refused question and nothing else
        return answer

    def all(
        self, questions: Sequence[tuple[str, str]], form: Mapping[str, Any] | None = None
    ) -> list[str | CallFailed]:
        """Answers or failures, in the questions' order; several calls run at a time."""

        def one(question: tuple[str, str]) -> str | CallFailed:
            try:
                return self.ask(*question, form)
            except CallFailed as failure:
                return failure

        if len(questions) < 2 or self.endpoint.workers == 1:
            return [one(question) for question in questions]
        with ThreadPoolExecutor(self.endpoint.workers, "judge") as pool:
            return list(pool.map(one, questions))

    def _count(self, failed: int = 0, read: int = 0, written: int = 0) -> None:
        into, out = self.endpoint.price
        with self._lock:
            now = self._spend
            self._spend = replace(
                now,
                calls=now.calls + 1,
                failed=now.failed + failed,
                read=now.read + read,
                written=now.written + written,
                cost=now.cost + (read * into + written * out) / 1e6,
            )


def _said(answer: Any) -> str:
    """The text of a chat completion of which nothing is trusted; CallFailed where there is none."""
    choices = getattr(answer, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if message is None:
        raise CallFailed("call failed: the answer is no chat completion")
    text = _text(getattr(message, "content", None))
    cut = parts(text)
    said = cut.of(text)
    if said.strip():
        return said
    if (
        cut.thinking
        or cut.thought
        or _thought(message)
        or getattr(choice, "finish_reason", "") == "length"
    ):
        raise CallFailed("call failed: it spent its tokens thinking; raise max_tokens")
    if _text(getattr(message, "refusal", None)).strip():
        raise CallFailed("call failed: the chat model would not judge this")
    raise CallFailed("call failed: the answer is empty")


def _thought(message: Any) -> bool:
    return any(
        _text(getattr(message, name, None)).strip()
        for name in ("reasoning_content", "reasoning", "thinking")
    )


def _text(content: Any) -> str:
    """Text as it is, the text parts of a list, and nothing of anything else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    found = []
    for part in content:
        kind, text = (
            (part.get("type"), part.get("text"))
            if isinstance(part, dict)
            else (getattr(part, "type", None), getattr(part, "text", None))
        )
        if isinstance(part, str):
            found.append(part)
        elif kind in (None, "text", "output_text") and isinstance(text, str):
            found.append(text)
    return "".join(found)


def _tokens(usage: Any, name: str) -> int:
    """A count of tokens, where it is one."""
    value = usage.get(name) if isinstance(usage, dict) else getattr(usage, name, None)
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and value is not True and value >= 0 else 0
