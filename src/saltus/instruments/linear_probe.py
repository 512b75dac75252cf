"""Linear probe: what can be read off the hidden states of every layer by least squares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError, unknown
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.models.sites import matches
from saltus.tasks.base import Task

CHUNK = 256  # samples per forward pass: the states of all samples are never held at once
RIDGE = 1e-10
TINY = 1e-150  # lengths below it have no direction
NOTHING = torch.zeros((), dtype=torch.float64)


class LinearProbe(Instrument):
    """Least squares without intercept from the state at each position to what the task knows of
    that position (`Task.probe_targets`; 2410.22244, section 6.7 of our spec).

    One probe W per site and target, fitted in float64 by `least_squares` on all positions of a
    batch but its last `test` samples, on which it is tested; the batch has train + test samples.
    Gives scalars `linear-probe/<site>/<target>/<what>/train` and `.../test`, where what is

    - `mse`: the mean over samples, positions and features of (W^T h - t)^2;
    - `cosine`, of vectors: the mean over samples and positions of |cos(W^T h, t)|, where a zero
      vector counts as 0;
    - `mse-observed`, `mse-masked`, of single numbers where the batch has `observed`: the mean over
      the positions that the model was shown or not; NaN where there are none.

    `targets` names some of the task's; all if not given.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["linear-probe"] = "linear-probe"
    sites: tuple[str, ...] = Field(default=("embedding", "blocks.*.residual.post"), min_length=1)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    train: int = Field(default=2048, ge=1, description="samples")
    test: int = Field(default=256, ge=1, description="samples")
    cadence: AnyCadence = Cadence(at=())  # passes over many samples: at the first and last step

    def needs(self, task: Task) -> Needs:
        return Needs(samples=self.train + self.test)

    def check(self, task: Task) -> None:
        if type(task).probe_targets is Task.probe_targets:
            raise ValueError(f"task {task.kind} says nothing that could be probed for")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        targets = self._targets(reading)
        wanted = torch.cat(list(targets.values()), dim=-1)
        parts = self._parts(wanted.shape[-3])
        widths = {name: value.shape[-1] for name, value in targets.items()}
        moments: dict[tuple[str, int], Moments] = {}
        for look in looks(reading, self.sites, wanted, parts["train"]):
            moments.setdefault((look.site, look.member), Moments()).add(look)
        probes = {where: least_squares(own.states, own.both) for where, own in moments.items()}
        means: dict[str, dict[int, Mean]] = {}
        for part, samples in parts.items():
            for look in looks(reading, self.sites, wanted, samples):
                said = look.states @ probes[look.site, look.member]
                for what, values in errors(said, look, widths).items():
                    name = f"linear-probe/{look.site}/{what}/{part}"
                    means.setdefault(name, {}).setdefault(look.member, Mean()).add(values)
        stacked = {
            name: torch.stack([own.value.to(wanted.dtype) for own in members.values()])
            for name, members in means.items()
        }
        if wanted.ndim == 3:  # of a single model
            return {name: value[0] for name, value in stacked.items()}
        return stacked

    def _targets(self, reading: Reading) -> dict[str, Tensor]:
        offered = reading.task.probe_targets(reading.batch)
        for name in self.targets or ():
            if name not in offered:
                raise SaltusError(f"linear-probe.targets: {unknown('target', name, offered)}")
        return {name: offered[name] for name in self.targets or offered}

    def _parts(self, samples: int) -> dict[str, range]:
        if samples <= self.test:
            raise SaltusError(
                f"linear-probe.test: {self.test} of a batch of {samples} samples is not allowed; "
                f"at most {samples - 1}"
            )
        split = samples - self.test
        return {"train": range(split), "test": range(split, samples)}


class Look(NamedTuple):
    """What a site of a member holds at all positions of some samples, and what is known there."""

    site: str
    member: int
    states: Float64[Tensor, "row width"]
    wanted: Float64[Tensor, "row feature"]  # all targets side by side
    observed: Bool[Tensor, " row"] | None


def looks(
    reading: Reading,
    sites: tuple[str, ...],
    wanted: Float[Tensor, "*members sample position feature"],
    samples: range,
) -> Iterator[Look]:
    """Every site of every member on these samples, some samples at a time.

    Rows are copied to memory of their own, so that products with them do not depend on the place
    of a member in its stack.
    """
    assert reading.run is not None  # the instrument is stacked
    inputs, observed = reading.batch["inputs"], reading.batch.get("observed")
    single = wanted.ndim == 3
    members = [...] if single else range(len(inputs))  # `...` is a single model's all
    for first in range(samples.start, samples.stop, CHUNK):
        some = slice(first, min(first + CHUNK, samples.stop))
        shown = inputs[some] if single else inputs[:, some]
        known = wanted[..., some, :, :]
        found = _states(reading.run(shown, capture=sites).sites, sites, known)
        for site, states in found.items():
            for place, member in enumerate(members):
                yield Look(
                    site,
                    place,
                    states[member].flatten(0, 1).to(torch.float64, copy=True),
                    known[member].flatten(0, 1).to(torch.float64, copy=True),
                    None if observed is None else observed[..., some, :][member].flatten(),
                )


def _states(
    found: Mapping[str, Tensor], patterns: tuple[str, ...], wanted: Tensor
) -> Mapping[str, Tensor]:
    """The captured sites, once it is clear that each pattern has one, with a state per position."""
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in found):
            raise SaltusError(f"linear-probe.sites: the model has no site '{pattern}'")
    for name, states in found.items():
        if states.shape[:-1] != wanted.shape[:-1]:
            raise SaltusError(f"linear-probe.sites: '{name}' is not one state per position")
    return found


class Moments:
    """Sums over rows of h h^T and h t^T, all that least squares needs to know."""

    states: Tensor = NOTHING
    both: Tensor = NOTHING

    def add(self, look: Look) -> None:
        self.states = self.states + look.states.T @ look.states
        self.both = self.both + look.states.T @ look.wanted


def least_squares(
    states: Float64[Tensor, "width width"], both: Float64[Tensor, "width feature"]
) -> Float64[Tensor, "width feature"]:
    """W = (sum h h^T + ridge I)^-1 sum h t^T, the ridge 1e-10 of the mean eigenvalue.

    Directions in which the states hardly vary, such as rounding where they do not fill their
    space, would otherwise get weights of any size; all others are moved by less than 1e-10 times
    mean over own eigenvalue. States with a NaN give NaN.
    """
    width = len(states)
    ridge = (RIDGE * states.trace() / width).clamp_min(torch.finfo(states.dtype).tiny)
    below, _ = torch.linalg.cholesky_ex(states + ridge * torch.eye(width).to(states))
    return torch.cholesky_solve(both, below)


def errors(
    said: Float64[Tensor, "row feature"], look: Look, widths: Mapping[str, int]
) -> dict[str, Float64[Tensor, " value"]]:
    """The values whose means are the results, {"<target>/<what>": values}."""
    found, first = {}, 0
    for name, width in widths.items():
        own, true = (each[:, first : first + width] for each in (said, look.wanted))
        first += width
        square = (own - true).square()
        found[f"{name}/mse"] = square.flatten()
        if width > 1:
            found[f"{name}/cosine"] = torch.cosine_similarity(own, true, eps=TINY).abs()
        elif look.observed is not None:
            found[f"{name}/mse-observed"] = square[look.observed].flatten()
            found[f"{name}/mse-masked"] = square[~look.observed].flatten()
    return found


class Mean:
    """A mean of values that come in pieces; NaN where none came."""

    total: Tensor = NOTHING
    count: int = 0

    def add(self, values: Float64[Tensor, " value"]) -> None:
        self.total, self.count = self.total + values.sum(), self.count + len(values)

    @property
    def value(self) -> Float64[Tensor, ""]:
        return self.total / self.count
