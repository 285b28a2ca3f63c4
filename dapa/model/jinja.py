"""Chat templates run here: sandboxed, with bounds on what they write, and with a clock of ours.

A template is a program from the internet. The first time one is met, it is run in a process of its
own that may compute for a few seconds and hold little memory (`in_a_worker`); only one that came
back from there is run in this process, on every prompt, for a round trip to a worker takes longer
than the rendering. Here it still writes at most `MOST` letters and multiplies no texts beyond that.

What transformers gives a template is given here too; a test holds the two to the same texts. The
file is the worker's program as well, so it imports nothing of ours.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST = 2_000_000
"""Letters that one rendering may have."""
SECONDS = 2
"""Of computing, for all that the worker is asked."""
PATIENCE = 60
"""Seconds on the clock, for a machine that has others to serve."""
MEMORY = 2**30
"""Bytes of address space that the worker may hold."""

Messages = Sequence[Mapping[str, Any]]


class TooMuch(Exception):
    """A template writes more than any prompt can have."""

    def __init__(self) -> None:
        """Say how much is too much."""
        super().__init__(f"it writes more than {MOST:,} letters")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which trainers mark what the model says: only its body counts here."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        """The body, as it stands."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which no product outgrows the bounds."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless texts or numbers would explode."""
        if operator == "**" and not (abs(left) <= 2**32 and abs(right) <= 64):
            raise TooMuch
        for many, times in ((left, right), (right, left)):
            text = operator == "*" and isinstance(many, (str, bytes, list, tuple))
            if text and len(many) * max(0, int(times)) > MOST:
                raise TooMuch
        return super().call_binop(context, operator, left, right)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's, without the names by which one could leave the sandbox."""

    def __init__(*args: Any, **named: Any) -> None:
        self, *rest = args
        content = dict(*rest, **named)
        for name in content:
            _own(name)
        jinja2.utils.Namespace.__init__(self, content)

    def __setitem__(self, name: str, value: Any) -> None:
        _own(name)
        super().__setitem__(name, value)


def _own(name: Any) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")


def _refuse(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_refuse, namespace=_Namespace)
    return environment.from_string(template)


def variables(template: str) -> frozenset[str]:
    """The names that a template reads and does not set itself."""
    environment = _compiled(template).environment
    return frozenset(jinja2.meta.find_undeclared_variables(environment.parse(template)))


def written(
    template: str, messages: Messages, named: Mapping[str, Any], date: str, ask: bool = True
) -> str:
    """One rendering.

    Args:
        template: Jinja source.
        messages: Roles and contents.
        named: What else the template may read: special tokens, switches.
        date: ISO time that its clock tells; now if empty.
        ask: End with what opens the assistant's turn.

    Raises:
        Exception: Jinja's and the template's own, of any kind; `TooMuch`.
    """
    clock = datetime.fromisoformat(date) if date else datetime.now()
    random.seed(0)  # a template may draw, and one prompt serves every mask
    pieces, size = [], 0
    for piece in _compiled(template).generate(
        messages=messages,
        tools=None,
        documents=None,
        add_generation_prompt=ask,
        strftime_now=clock.strftime,
        **named,
    ):
        size += len(piece)
        if size > MOST:
            raise TooMuch
        pieces.append(piece)
    return "".join(pieces)


# -- the worker ---------------------------------------------------------------------------------


def in_a_worker(
    template: str | None, jobs: Mapping[str, Mapping[str, Any]], patterns: str = ""
) -> dict[str, tuple[str, str]]:
    """Run a template, and a tokenizer's patterns, in a process with limits.

    Args:
        template: Jinja source; None renders nothing.
        jobs: Name -> arguments of `written`, in the order in which they are tried.
        patterns: A tokenizer.json that holds no vocabulary, to be tried on texts that catastrophic
            patterns choke on; empty for none.

    Returns:
        Name -> (text, "") or ("", what went wrong); `variables` and `patterns` are names too. A job
        that took the worker's life has no text, and those behind it are missing.
    """
    asked = {"template": template, "jobs": dict(jobs), "patterns": patterns}
    found = {}
    ready, *lines = _lines_of(asked) or [b""]
    if ready != _READY:  # no worker can be had on this machine, so all is tried here
        return {name: (text, fault) for name, text, fault in _answers(asked)}
    for line in lines:
        try:
            name, text, fault = json.loads(line)
        except ValueError:  # the worker died within the line
            break
        found[name] = (text, fault)
    wanted = ["variables", *jobs] if template is not None else []
    wanted += ["patterns"] if patterns else []
    lost = next((name for name in wanted if name not in found), None)
    if lost is not None:
        limits = f"it did not end within {SECONDS} seconds and {MEMORY >> 30} GiB of memory"
        found[lost] = ("", limits)
    return found


_READY = b"ready"
_START = "import runpy, sys; sys.path[:] = {path!r}; runpy.run_path({file!r}, run_name='__main__')"


def _lines_of(asked: Mapping[str, Any]) -> list[bytes]:
    """What the worker wrote before it ended or was ended; empty where none could be started."""
    start = _START.format(path=[p for p in sys.path if p], file=__file__)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", start],
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=PATIENCE,
        )
        return done.stdout.splitlines()
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").splitlines()
    except OSError:
        return []


def _limit() -> None:
    """Bound this process, where the system can."""
    try:
        import resource
        import signal
    except ImportError:  # no POSIX: the clock alone bounds it
        return
    most = resource.getrlimit(resource.RLIMIT_AS)[1]  # none may go above it
    memory = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
    signal.setitimer(signal.ITIMER_PROF, SECONDS)


def _tried(pattern_file: str) -> None:
    """Split texts on which patterns that backtrack never come to an end."""
    from tokenizers import Tokenizer

    letters = {c for c in pattern_file if c.isascii() and c.isprintable()}
    splitter = Tokenizer.from_str(pattern_file)
    for letter in [*sorted(letters), "é", "字"]:
        splitter.encode(letter * 40 + "\x01")
    for words in ("how do i " * 20, "a1 " * 20, " \n" * 20, "A" * 20 + "a" * 20):
        splitter.encode(words + "\x01")


def told(error: BaseException) -> str:
    """What an error of a template's says, on one line."""
    if isinstance(error, MemoryError):
        return f"it needs more than {MEMORY >> 30} GiB of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _answers(asked: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    template = asked["template"]
    work: dict[str, Any] = {}
    if template is not None:
        work["variables"] = lambda: json.dumps(sorted(variables(template)))
        for name, job in asked["jobs"].items():
            work[name] = lambda job=job: written(template, **job)
    if asked["patterns"]:
        work["patterns"] = lambda: _tried(asked["patterns"]) or ""
    for name, job in work.items():
        try:
            yield name, job(), ""
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a tokenizer's panic is no Exception
            yield name, "", told(error)


def _work() -> None:
    """Answer one request, a line a job."""
    asked = json.loads(sys.stdin.buffer.read())
    sys.stdout.write(_READY.decode() + "\n")
    sys.stdout.flush()
    _limit()
    for answer in _answers(asked):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _work()
