"""Numbers and counts in words."""

from __future__ import annotations

import re
import unicodedata
from math import isfinite


def number(value: float, digits: int = 4) -> str:
    """Four significant digits with a real minus sign, '2·10⁻⁵'; a dash where there is no number."""
    if value != value:
        return "–"
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, power = f"{value:.{digits}g}".replace("-", "−").partition("e")
    if not power:
        return mantissa
    scale = power_of_ten(int(power.replace("−", "-")))
    return {"1": scale, "−1": f"−{scale}"}.get(mantissa, f"{mantissa}·{scale}")


def power_of_ten(power: int) -> str:
    """'10⁻⁵', without markup."""
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def percent(share: float) -> str:
    """'95 %', '99.5 %': never torn apart at the end of a line."""
    return f"{100 * share:g}\u00a0%"


def duration(seconds: float) -> str:
    """'8.4 s', '2 min 41 s', '3 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count(amount: int, noun: str) -> str:
    """'1 seed', '8 seeds'."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def listed(values: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


def slug(title: str) -> str:
    """'Loss, by class (T₁)' → 'loss-by-class-t1': a title as part of a file's name."""
    plain = unicodedata.normalize("NFKD", title)  # ₁ is a kind of 1, é an e with something on it
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    return re.sub(r"[^\w]+", "-", letters.lower()).strip("-") or "figure"
