"""Hidden cosine: representation collapse, how alike the states of different answers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.tasks.base import Task


class HiddenCosine(Instrument):
    """COS = mean over samples and pairs i > j of cos(h_i, h_j) (2506.13688, section 7.3).

    h_i is the state at the position that predicts answer i, at each of `sites` (shell-style
    patterns). Gives `cosine/<site>`, scalars in [-1, 1]: 1 when all states point the same way
    (collapse). Which pairs are compared:

    - those inside each of the task's `state_groups`, if it names them, as the paper does for its
      tasks. With several groups, `cosine/<site>` is the mean over all their pairs and
      `cosine/<site>/group-<g>` that over the pairs of one;
    - else those of all answers but the first, often a mere copy; all positions where the task has
      no answer rows;
    - with `skip_first: false` those of all answers, whatever the task names.

    `across` lets the states of a group meet those of later groups too; pair (i, j) then counts for
    the group of j. So the three segments of concatenated sums get 42, 30 and 6 pairs, the numbers
    that our spec gives. `columns` adds the arrays `cosine/<site>/columns` [state]: for each j the
    mean over the later i it is compared with, states without any left out.
    """

    kind: Literal["hidden-cosine"] = "hidden-cosine"
    sites: tuple[str, ...] = Field(default=("final",), min_length=1)
    skip_first: bool = True
    across: bool = False
    columns: bool = False
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self.sites)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for site, states in captured(reading, self.sites).items():
            groups = self._groups(reading.task, states.shape[-2])
            if few := [group for group in groups if len(group) < 2]:
                raise SaltusError(
                    f"hidden-cosine.sites: a cosine needs two states; '{site}' leaves {len(few[0])}"
                )
            own = [states[..., _index(group), :] for group in groups]
            if len(own) == 1:
                results[f"cosine/{site}"] = pair_cosine(own[0]).mean()
            if len(own) > 1 or self.columns:
                parts = self._parts(own)
                results |= {f"cosine/{site}{name}": value for name, value in parts.items()}
        return results

    def _parts(self, groups: Sequence[Tensor]) -> dict[str, Tensor]:
        """The ends of names with what depends on group or column."""
        sums, pairs = columns(groups, self.across)
        results = {}
        if len(groups) > 1:
            totals = [own.sum(-1).mean() for own in sums]
            counts = [sum(own) for own in pairs]
            results = {"": torch.stack(totals).sum() / sum(counts)}
            for g, (total, count) in enumerate(zip(totals, counts, strict=True)):
                results[f"/group-{g}"] = total / count
        if self.columns:
            counts = [count for own in pairs for count in own]
            compared = [j for j, count in enumerate(counts) if count]
            means = torch.cat(list(sums), dim=-1).mean(0)[compared]
            results["/columns"] = means / means.new_tensor([counts[j] for j in compared])
        return results

    def check(self, task: Task) -> None:
        if task.interface.takes == "images":
            return  # only the model knows how many states there are
        for group in self._groups(task, task.interface.positions):
            if len(group) < 2:
                raise ValueError(f"a cosine needs two states; task {task.kind} leaves {len(group)}")

    def _groups(self, task: Task, positions: int) -> tuple[tuple[int, ...], ...]:
        """Which positions are compared with each other."""
        if self.skip_first and (groups := task.state_groups()) is not None:
            return groups
        rows = task.output_rows()
        every = tuple(range(positions)[rows or slice(None)])
        return (every if rows is None or not self.skip_first else every[1:],)


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


def columns(
    groups: Sequence[Float[Tensor, "*batch _ width"]], across: bool
) -> tuple[list[Float[Tensor, "*batch _"]], list[list[int]]]:
    """For every state h_j the sum of cos(h_i, h_j) over later states h_i of its group, and how many
    those are; `across` counts the states of later groups among them."""
    sums, pairs = [], []
    beyond: Tensor | float = 0.0  # the unit vectors of later groups, summed
    number = 0
    for states in reversed(groups):
        unit = _units(states)
        # Sums over i >= j, less h_j's own.
        later = unit.flip(-2).cumsum(-2).flip(-2) - unit + beyond
        count = states.shape[-2]
        sums.append((unit * later).sum(-1))
        pairs.append([count - 1 - j + number for j in range(count)])
        if across:
            beyond = beyond + unit.sum(-2, keepdim=True)
            number += count
    return sums[::-1], pairs[::-1]


def _units(states: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return states / lengths.clamp_min(torch.finfo(states.dtype).tiny)


def _index(group: tuple[int, ...]) -> slice | list[int]:
    """A slice where the positions lie side by side: it copies nothing."""
    first, last = group[0], group[-1]
    return slice(first, last + 1) if group == tuple(range(first, last + 1)) else list(group)
