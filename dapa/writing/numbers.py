"""How numbers are written wherever people read them: shares, intervals, counts, sizes, times."""

from __future__ import annotations

import math

from dapa.core.records import Rate

THIN = "\u202f"
"""A narrow no-break space, before the per cent sign."""


def percent(value: float, digits: int = 0) -> str:
    """0.954 -> `95 %`, with a thin space; halves go up, as in every other number on screen."""
    scale = 10**digits
    return f"{math.floor(100 * value * scale + 0.5 + 1e-9) / scale:.{digits}f}{THIN}%"


def two(value: float) -> str:
    """Two decimals, halves up: a strength, a probability; rates are told in per cent."""
    return f"{math.floor(100 * value + 0.5 + 1e-9) / 100:.2f}"


def plain(value: float, least: float = 0.001) -> str:
    """Three digits and never an exponent: `0.0123`, `1,230`, and `< 0.001` below that `least`."""
    if 0 < abs(value) < least:
        return f"< {least:g}" if value > 0 else f"> -{least:g}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def p_text(value: float | None) -> str | None:
    """A p-value as `0.031` or `< 0.001`; None where there is none."""
    if value is None:
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def size_text(count: float) -> str:
    """Bytes for people: 0 bytes, 40.0 KiB, 5.4 MiB or 26.1 GiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f}{THIN}{name}"
    return f"{count:.0f}{THIN}bytes"


def rate_text(rate: Rate, with_n: bool = True) -> str:
    """A rate with its interval, as in `96 % [90, 99], n = 64`, or short: `96 % [90, 99]`."""
    count = f", n = {rate.n}" if with_n else ""
    return f"{percent(rate.value)} {ends_text(rate)}{count}{cut_text(rate)}"


def ends_text(rate: Rate) -> str:
    """A rate's interval beside its per cent: `[90, 99]`."""
    low, high = (percent(end).removesuffix(f"{THIN}%") for end in (rate.low, rate.high))
    return f"[{low}, {high}]"


def count_text(count: int, what: str) -> str:
    """`1 test`, `13 tests`."""
    return f"{count} {what}" if count == 1 else f"{count:,} {what}s"


def cut_text(rate: Rate) -> str:
    """`, 3 cut` where the token limit ended some of a rate's replies, else nothing."""
    return f", {rate.cut} cut" if rate.cut else ""


def kinds_text(rate: Rate, of: str = " of harm") -> str:
    """A rate over kinds beside Wilson's: `over 5 kinds of harm 91 % [73, 100]`."""
    return f"over {rate.n} kinds{of} {rate_text(rate, with_n=False)}"


def duration(seconds: float) -> str:
    """`9.8 s`, or `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
