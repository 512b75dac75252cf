"""The states that probes of whole samples take: gathered over many samples, laid out, scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import Reading
from saltus.instruments.captured import precise
from saltus.instruments.probe_training import filled
from saltus.models.sites import matches
from saltus.tasks.base import Batch, Task

Tokens = Literal["all", "class", "answer"]
Scaling = Literal["feature", "whole", "none"]
CHUNK = 256  # samples per forward pass
ENTERING = "residual.pre"  # what a block gets


class Samples(NamedTuple):
    """Some samples of a task: one batch for all members, or one for each, [members, batch, ...]."""

    inputs: Tensor
    labels: dict[str, Int[Tensor, "*members sample"]]
    own: bool  # whether each member has its own

    @classmethod
    def of(cls, task: Task, batch: Batch) -> Samples:
        labels = task.labels(batch)
        return cls(batch["inputs"], labels, next(iter(labels.values())).ndim == 2)

    @property
    def members(self) -> int | None:
        """How many members there are; None where there is no axis of them."""
        return len(self.inputs) if self.own else None

    @property
    def count(self) -> int:
        return self.inputs.shape[int(self.own)]

    def chunks(self, members: int | None) -> Iterator[tuple[slice, Tensor]]:
        """The inputs for a stack of members, some samples at a time; None: for a single model."""
        for first in range(0, self.count, CHUNK):
            some = slice(first, min(first + CHUNK, self.count))
            if self.own:
                yield some, self.inputs[:, some]
            elif members is None:
                yield some, self.inputs[some]
            else:
                yield some, self.inputs[some].expand(members, *self.inputs[some].shape)

    def truth(self, name: str, members: int | None) -> Int[Tensor, "member sample"]:
        """The classes of a target, for every member."""
        found = self.labels[name]
        return found if self.own else found.expand(members or 1, -1)


class Place(NamedTuple):
    """Which probes of some states are a site's."""

    probes: slice
    heads: bool  # one for each head

    def of(self, values: Tensor) -> Tensor:
        """Its values of [*members, probe]: one per head, or the only one."""
        return values[..., self.probes] if self.heads else values[..., self.probes.start]


class States(NamedTuple):
    """Sites that give a probe equally many features."""

    features: Float[Tensor, "member probe sample feature"]  # filled up with 0; the last one is 1
    width: int  # how many are the sites' own
    places: dict[str, Place]

    def part(self, samples: slice) -> States:
        """The same of some samples, in memory of its own."""
        return self._replace(features=self.features[:, :, samples].clone())


def gathered(
    reading: Reading,
    samples: Samples,
    sites: Sequence[str],
    tokens: Tokens,
    residual_input: bool,
    members: int | None,
) -> dict[int, States]:
    """What every site that matches holds on these samples, by number of features."""
    assert reading.run is not None  # the instruments are stacked
    patterns = (*sites, f"blocks.*.{ENTERING}") if residual_input else tuple(sites)
    found: dict[int, States] = {}
    for some, inputs in samples.chunks(members):
        held = reading.run(inputs, capture=patterns).sites
        each = {
            name: _of_samples(name, held, tokens, residual_input, members)
            for name in _chosen(held, sites)
        }
        found = found or _room(each, samples.count)
        for states in found.values():
            for name, place in states.places.items():
                own = each[name] if place.heads else each[name].unsqueeze(1)
                states.features[:, place.probes, some, : states.width] = own
    return found


def scale(learnt: States, tested: States | None, scaling: Scaling) -> None:
    """Scale features in place by numbers of the training samples; the 1 stays."""
    if scaling == "none":
        return
    every = [part.features for part in (learnt, tested) if part is not None]
    samples = learnt.features.shape[-2]
    mean = learnt.features.mean(-2, keepdim=True)
    for features in every:
        features.sub_(mean)
    deviation = torch.linalg.vector_norm(learnt.features, dim=-2, keepdim=True) / samples**0.5
    if scaling == "whole":
        deviation = (deviation.square().sum(-1, keepdim=True) / learnt.width).sqrt()
    divisor = torch.where(deviation > 0, deviation, 1)
    for features in every:
        features.div_(divisor)
        features[..., -1] = 1


def _chosen(held: Mapping[str, Tensor], sites: Sequence[str]) -> list[str]:
    """The names of the sites that match, in the order of the model's layers."""
    for pattern in sites:
        if not any(matches(name, (pattern,)) for name in held):
            raise SaltusError(f"instruments: the model has no site '{pattern}'")
    return [name for name in held if matches(name, tuple(sites))]


def _of_samples(
    name: str, held: Mapping[str, Tensor], tokens: Tokens, residual_input: bool, members: int | None
) -> Float[Tensor, "member *head sample feature"]:
    """A site's states, those of the tokens side by side."""
    states = precise(held[name])
    if residual_input and name.endswith("attention.heads"):
        entering = precise(held[f"{name.removesuffix('attention.heads')}{ENTERING}"])
        states = states + entering.unflatten(-1, (states.shape[-3], -1)).transpose(-2, -3)
    states = states.unsqueeze(0) if members is None else states
    # [member, sample, token, width], or with heads [member, sample, head, token, width]
    chosen = {"all": slice(None), "class": slice(0, 1), "answer": slice(-1, None)}[tokens]
    laid = states[..., chosen, :].flatten(-2)
    return laid.transpose(1, 2) if laid.ndim == 4 else laid


def _room(each: Mapping[str, Tensor], samples: int) -> dict[int, States]:
    """Empty states for sites of which some samples are known."""
    found: dict[int, States] = {}
    for width in dict.fromkeys(value.shape[-1] for value in each.values()):
        places, first = {}, 0
        for name, value in each.items():
            if value.shape[-1] == width:
                probes = value.shape[1] if value.ndim == 4 else 1
                places[name] = Place(slice(first, first + probes), heads=value.ndim == 4)
                first += probes
        like = next(iter(each.values()))
        features = like.new_zeros(len(like), first, samples, filled(width + 1))
        features[..., -1] = 1
        found[width] = States(features, width, places)
    return found
