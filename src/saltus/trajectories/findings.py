"""What an audit finds: one thing that is wrong, where, and the numbers that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = (
    "truncated",  # the file ends before its tensors do
    "corrupt",  # the file's table of tensors, or some of the numbers, are not what was written
    "not finite",  # NaN or infinity
    "duplicated",  # the same weights twice
    "final weights",  # several checkpoints hold the last one's weights
    "order",  # steps that repeat or fall, or another step inside the files than in the name
    "swapped",  # checkpoints stand in each other's place on the path
    "missing",  # a gap in regular steps, or a jump of the whole path
    "stranger",  # off the path: weights of another run
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `kind` is one of KINDS; `checkpoints` and `steps` are those
    concerned, in order (of a missing checkpoint, its neighbours); `text` says it without them,
    `evidence` holds its numbers."""

    kind: str
    checkpoints: tuple[str, ...]
    steps: tuple[int, ...]
    text: str
    evidence: Mapping[str, float]

    @property
    def line(self) -> str:
        """All of it in one line: kind, where, evidence."""
        names = self.checkpoints
        where = ", ".join(names if len(names) < 6 else (*names[:3], f"… {names[-1]}"))
        return f"{self.kind}: {where}: {self.text}"
