"""What is wrong with a series of checkpoints, told from the weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from saltus.trajectories.trajectory import Trajectory


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, where, and the numbers that say so.

    `kind` is one of KINDS. `checkpoints` and `steps` are those concerned, in order; of a missing
    checkpoint, its neighbours.
    """

    kind: str
    checkpoints: tuple[str, ...]
    steps: tuple[int, ...]
    text: str
    evidence: Mapping[str, float]

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.kind}: {self.text}"


KINDS = (
    "truncated",  # the file ends before its tensors do
    "corrupt",  # the file's table of tensors, or some of the numbers, are not what was written
    "not finite",  # NaN or infinity
    "duplicated",  # the same weights twice
    "final weights",  # many checkpoints hold the last one's weights
    "order",  # steps that repeat or fall, or another step inside the files than in the name
    "swapped",  # the path goes forth and back: checkpoints stand at each other's steps
    "missing",  # a gap in regular steps, or in the path
    "stranger",  # off the path: weights of another run
)


def audit(trajectory: Trajectory) -> tuple[Finding, ...]:
    """Everything wrong with the series, in the order of its checkpoints; () where all is well."""
    raise NotImplementedError
