"""What a user can mend. Only the screen makes a toast of it, only the command line a code."""

from __future__ import annotations

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


class NothingToLocalize(DapaError):
    """The full mask does not beat the empty one by enough for a search to mean anything."""

    def __init__(self, message: str, student: Rate, full: Rate) -> None:
        """Keep both scores beside the sentence."""
        super().__init__(message)
        self.student = student
        self.full = full
