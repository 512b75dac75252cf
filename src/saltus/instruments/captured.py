"""Captured sites as instruments take them: chosen by pattern, in float32 or better."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import Reading
from saltus.models.sites import matches

PATTERNS = ("blocks.*.attention.pattern",)


def captured(reading: Reading, patterns: Iterable[str]) -> dict[str, Tensor]:
    """The sites of a reading that match, e.g. {"blocks.0.attention.pattern": ...}.

    A reading holds what every instrument of the step asked for, so each picks its own. A pattern
    that no site matches is an error: the model does not name what the instrument reads.
    """
    found: dict[str, Tensor] = {}
    for pattern in patterns:
        names = [name for name in reading.sites if matches(name, (pattern,))]
        if not names:
            raise SaltusError(f"instruments: the model has no site '{pattern}'")
        found |= {name: precise(reading.sites[name]) for name in names}
    return found


def attention_patterns(reading: Reading) -> dict[str, Tensor]:
    """{"blocks.0": [batch, head, query, key], ...}, the attention weights of every layer."""
    return {
        name.removesuffix(".attention.pattern"): pattern
        for name, pattern in captured(reading, PATTERNS).items()
    }


def precise(value: Tensor) -> Tensor:
    """At least float32: a bfloat16 forward pass is still summed up in float32."""
    return value.float() if value.element_size() < 4 else value
