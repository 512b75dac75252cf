"""State norms: how long the hidden states are, and how many directions they fill."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.tasks.base import Task

# Before attention, what attention adds, and their sum.
LOCATIONS = (
    "blocks.*.residual.pre",
    "blocks.*.attention.output",
    "blocks.*.residual.mid",
)


class StateNorms(Instrument):
    """Mean L2 norm of the states that predict answers (2506.13688, figures 41 and 42).

    `state-norm/<site>`: the mean of |h_i| over samples and answers i, or over all positions where
    the task has no answer rows, at each of `sites` (shell-style patterns). The default are the
    three places around attention whose norms the paper shows.

    `stable_rank` adds `stable-rank/<site>`: the mean over samples of |H|_F^2 / |H|_2^2, where the
    rows of H are the states of one sample. Between 1, when all states lie on one line, and the
    number of states; 0 when all states are 0. The paper's text uses no stable rank: which states to
    take is our choice.
    """

    kind: Literal["state-norms"] = "state-norms"
    sites: tuple[str, ...] = Field(default=LOCATIONS, min_length=1)
    stable_rank: bool = False
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self.sites)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        rows = reading.task.output_rows() or slice(None)
        results = {}
        for site, states in captured(reading, self.sites).items():
            own = states[..., rows, :]
            results[f"state-norm/{site}"] = torch.linalg.vector_norm(own, dim=-1).mean()
            if self.stable_rank:
                results[f"stable-rank/{site}"] = stable_rank(own).mean()
        return results


def stable_rank(states: Float[Tensor, "*batch position width"]) -> Float[Tensor, "*batch"]:
    """Sum of squared singular values over the largest of them; 0 for the zero matrix."""
    squares = torch.linalg.svdvals(states).square()
    return squares.sum(-1) / squares[..., 0].clamp_min(torch.finfo(states.dtype).tiny)
