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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from dapa.core.records import SettingError

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
        self._errors: Any = openai
        self._client = openai.OpenAI(
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

    def ask(self, system: str, user: str) -> str:
        """One answer, greedily.

        Raises:
            CallFailed: After the last attempt.
        """
        self._pace.wait()
        try:
            answer = self._client.chat.completions.create(
                model=self.endpoint.model,
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": user},
                ],
                temperature=0.0,
                max_tokens=self.endpoint.max_tokens,
            )
            said = answer.choices[0].message.content or ""
        except self._errors.APIStatusError as error:
            self._count(failed=1)
            raise CallFailed(f"call failed: the server said {error.status_code}") from None
        except self._errors.APITimeoutError:
            self._count(failed=1)
            raise CallFailed(f"call failed: no answer in {self.endpoint.timeout:g} s") from None
        except self._errors.APIConnectionError:
            self._count(failed=1)
            raise CallFailed("call failed: no connection") from None
        except (self._errors.OpenAIError, ValueError, TypeError, AttributeError, IndexError):
            self._count(failed=1)
            raise CallFailed("call failed: the answer is no chat completion") from None
        usage = answer.usage
        self._count(0, usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (
            self._count()
        )
        return said

    def all(self, questions: Sequence[tuple[str, str]]) -> list[str | CallFailed]:
        """Answers or failures, in the questions' order; several calls run at a time."""

        def one(question: tuple[str, str]) -> str | CallFailed:
            try:
                return self.ask(*question)
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
