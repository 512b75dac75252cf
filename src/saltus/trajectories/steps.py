"""The training step in the name of a checkpoint."""

from __future__ import annotations

import re

from saltus.errors import SaltusError

STEP = r"(?:step|checkpoint|ckpt|iter)[-_=]?(\d+)"


def step_of(checkpoint: str, pattern: str = STEP) -> int | None:
    """The step in a checkpoint's name: the group of the last match, None where nothing matches."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SaltusError(f"steps_from: '{pattern}' is not a regular expression: {error}") from None
    if compiled.groups != 1:
        raise SaltusError(f"steps_from: '{pattern}' must have one group, as in 'step(\\d+)'")
    found = compiled.findall(checkpoint)
    if found and not found[-1].isdecimal():
        raise SaltusError(f"steps_from: '{pattern}' finds '{found[-1]}' in {checkpoint}: no step")
    return int(found[-1]) if found else None
