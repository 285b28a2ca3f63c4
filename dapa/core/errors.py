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


class StoreError(DapaError):
    """A run store that cannot be opened, read or written."""


class NothingToLocalize(DapaError):
    """The full mask does not beat the empty one by enough for a search to mean anything."""

    def __init__(self, message: str, student: Rate, full: Rate) -> None:
        """Keep both scores beside the sentence."""
        super().__init__(message)
        self.student = student
        self.full = full
