"""Hidden cosine: representation collapse, how alike the states of different answers are."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.tasks.base import Task


class HiddenCosine(Instrument):
    """COS = mean over samples and pairs i > j of cos(h_i, h_j) (2506.13688, section 7.3).

    h_i is the state at the position that predicts answer i, at each of `sites` (shell-style
    patterns); all positions where the task has no answer rows. Gives `cosine/<site>`, scalars in
    [-1, 1]: 1 when all states point the same way (collapse). `skip_first` leaves out the pairs
    with the first answer, as the paper does for moving-window sum (105 pairs for n = 16), where
    that answer is a mere copy.
    """

    kind: Literal["hidden-cosine"] = "hidden-cosine"
    sites: tuple[str, ...] = Field(default=("final",), min_length=1)
    skip_first: bool = True
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self.sites)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        rows = self._rows(reading.task)
        return {
            f"cosine/{site}": pair_cosine(states[..., rows, :]).mean()
            for site, states in captured(reading, self.sites).items()
        }

    def check(self, task: Task) -> None:
        states = len(range(task.interface.positions)[self._rows(task)])
        if states < 2:
            raise ValueError(f"a cosine needs two states; task {task.kind} leaves {states}")

    def _rows(self, task: Task) -> slice:
        rows = task.output_rows()
        if rows is None:
            return slice(None)
        return slice(rows.start + 1, rows.stop) if self.skip_first else rows


def pair_cosine(states: Float[Tensor, "*batch position width"]) -> Float[Tensor, "*batch"]:
    """Mean of cos(h_i, h_j) over all pairs i > j; a zero state has cosine 0 with every other.

    With u_i = h_i / |h_i| the upper triangle of the Gram matrix sums to
    (|sum_i u_i|^2 - sum_i |u_i|^2) / 2, so neither u nor the matrix is written out.
    """
    lengths = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    inverse = lengths.clamp_min(torch.finfo(states.dtype).tiny).reciprocal()
    direction = (inverse.transpose(-1, -2) @ states).squeeze(-2)
    own = (lengths * inverse).square().sum((-2, -1))
    count = states.shape[-2]
    return (direction.square().sum(-1) - own) / (count * (count - 1))
