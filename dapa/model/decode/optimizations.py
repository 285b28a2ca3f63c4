"""What makes decoding cheaper: each way with a switch, and a counter of the work saved.

With every optimization off, what is left is the plain path: each prompt is read whole under each
mask, and a batch is decoded until its last row ends. The tokens are the same either way (in
float32; in bfloat16 a near tie may fall the other way, as with any other batch).
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Optimizations:
    """Switches; everything that pays on the machine at hand is on by default."""

    leave: bool = True
    """Rows that ended leave the batch; off, they are computed until the last one ends."""
    refill: bool = True
    """Their places are taken by the next rows; off, the batch runs empty first."""
    settle: bool = True
    """A row ends once its verdict is settled; off, it goes on to its end or its limit."""
    reuse: bool = True
    """Layers below the lowest unit in which two masks differ are computed once a prompt."""
    share: bool = True
    """The beginning that all prompts have in common is read once a mask."""
    alike: bool = True
    """Prompts of like length are read together, so that little is computed for padding."""
    ahead: int | None = None
    """Places are filled with what may be asked next while fewer rows than this are in flight; 0
    never does it, None leaves it to the device."""
    memory: int | None = None
    """Bytes that kept states may take; None leaves it to the device."""


PLAIN = Optimizations(
    leave=False, refill=False, settle=False, reuse=False, share=False, alike=False, ahead=0
)
"""The reference."""
UNHINTED = Optimizations(reuse=False, share=False, alike=False, ahead=0)
"""Each prompt is read whole, whatever was read before, and in one pass with its batch."""


@dataclass
class Work:
    """What was computed and what was not. Tokens are whole passes: half of the layers, half one."""

    prefilled: float = 0.0
    """Prompt tokens read."""
    reused: float = 0.0
    """Prompt tokens that were not read, since their states were known."""
    padding: float = 0.0
    """Places of prompts that were computed and hold no token, counted as tokens are."""
    decoded: int = 0
    """New tokens, over all rows."""
    settled: int = 0
    """Rows that ended early, their verdict being settled."""
    steps: int = 0
    """Forward passes that decoded, prefills apart."""
    idle: int = 0
    """Tokens computed for rows that had ended (`leave` is off)."""
    refilled: int = 0
    """Rows that came into a running batch."""

    def add(self, other: Work) -> None:
        """Take the other's counts on top."""
        for field in fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def rounded(self) -> dict[str, float]:
        """For people and JSON: tokens to one decimal."""
        return {field.name: round(getattr(self, field.name), 1) for field in fields(self)}

    def since(self, before: Work) -> Work:
        """What came on top of an earlier count."""
        names = [field.name for field in fields(self)]
        return Work(**{name: getattr(self, name) - getattr(before, name) for name in names})
