"""What a user can mend. Only the screen makes a toast of it, only the command line a code."""

from __future__ import annotations

import errno

from dapa.core.rates import Rate


class DapaError(Exception):
    """What a user can mend: the message names the value seen and what to do next."""


class PairError(DapaError):
    """A model or a pair that cannot be loaded or compared."""


class PromptError(DapaError):
    """A prompt or a prompt file that cannot be used."""


class SettingError(DapaError):
    """A number or a choice outside what is allowed."""


class TooLong(PromptError):
    """A prompt with more tokens than the context holds."""

    def __init__(self, tokens: int, context: int) -> None:
        """Keep both counts beside the sentence."""
        self.tokens, self.context = tokens, context
        super().__init__(
            f"the prompt has {tokens:,} tokens and the context holds {context:,}; shorten it"
        )


class StoreError(DapaError):
    """A run store that cannot be opened, read or written."""

    def __init__(self, message: str, place: object = "") -> None:
        """Say what happened; `place` is the folder or file that stands in the message, if any."""
        super().__init__(message)
        self.place = str(place)

    @property
    def shown(self) -> str:
        """The message for a page that strangers may read: without the machine's folders."""
        return str(self).replace(self.place, "the run store") if self.place else str(self)


class OutOfMemory(DapaError):
    """Memory that ran out although the work was cut as small as it goes."""


SCARCE = (
    "out of memory; use lean memory, a smaller dtype, fewer prompts or tokens, or another device"
)
"""What is told where nobody knows more."""
NO_ROOM = "not enough memory to start; allow the program 2 GB (`ulimit -v`, the container's limit)"
"""What is told where not even the program itself can be loaded."""


def lacking(error: ModuleNotFoundError) -> str:
    """What is told where a package is missing: mostly another Python than the one set up."""
    return (
        f"the package {error.name} is not installed in this Python; activate the environment "
        "(`. .venv/bin/activate`), or `pip install -r requirements.txt` into it"
    )


_RAN_OUT = (
    "out of memory",  # CUDA, MPS and XPU, whatever the class
    "can't allocate memory",  # torch on a CPU: DefaultCPUAllocator, a plain RuntimeError
    "not enough memory",  # the same on Windows
    "cannot allocate memory",  # the system's own ENOMEM, through safetensors or a map of a file
    "bad_alloc",  # C++'s, through a binding
    "failed to map segment",  # the loader's, of a library that finds no room in the address space
    "without exception set",  # a compiled module's that met a null pointer as it was imported
    "could not create a memory",  # oneDNN's, which cannot have its scratchpad
)


def ran_out(error: BaseException) -> bool:
    """Does this error say that memory ran out? Torch is not imported to tell."""
    if isinstance(error, DapaError):
        return isinstance(error, OutOfMemory)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, (RuntimeError, OSError, ImportError, SystemError)):
        return False
    said = str(error).lower()
    return any(words in said for words in _RAN_OUT)


def gist(error: BaseException) -> str:
    """What an error says, on one line of at most 200 characters; its kind if it says nothing.

    Raises:
        Exception: The error itself where memory ran out: no file is to blame for that.
    """
    if ran_out(error):
        raise error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if first.endswith(":") and len(lines) > 1:  # a heading, so what it heads is the cause
        first += " " + lines[1]
    return first if len(first) <= 200 else f"{first[:197]}..."


class NothingToLocalize(DapaError):
    """The full mask does not beat the empty one by enough for a search to mean anything."""

    def __init__(self, message: str, student: Rate, full: Rate) -> None:
        """Keep both scores beside the sentence."""
        super().__init__(message)
        self.student = student
        self.full = full
