"""A model that is its own parameters, on losses whose gradient flow is known in closed form."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from saltus.experiment import Experiment
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.models.base import Interface, Model, Start
from saltus.models.sites import SILENT, Tape
from saltus.random import Draws
from saltus.tasks.base import Batch, Task

SIZE = 16  # numbers in a point: whole vectors, so that members may be stacked


class Bowl(Task):
    """A target y [SIZE] per sample; the loss is sum_i k_i (u_i - y_i)^2 / 2, k = `stiffness`.

    Full-batch flow of a point u: u_i(t) = b_i + (u_i(0) - b_i) exp(-k_i t), where b = mean y.
    """

    kind: Literal["bowl"] = "bowl"

    @property
    def interface(self) -> Interface:
        return Interface(vocabulary=2, positions=1, outputs=SIZE)

    def sample(self, draws: Draws, batch: int) -> Batch:
        return {"inputs": draws.integers(0, 2, batch, 1), "targets": draws.normal(batch, 1, SIZE)}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        away = outputs - batch["targets"]
        return (away * away * stiffness(outputs.dtype)).sum((-2, -1)) / 2


class Pole(Bowl):
    """The loss is -sum_i u_i^3 / 3: u_i(t) = 1 / (1 / u_i(0) - t), infinite at t = 1 / u_i(0)."""

    kind: Literal["pole"] = "pole"  # type: ignore[assignment]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return -(outputs * outputs * outputs).sum((-2, -1)) / 3


class PointModel(Model):
    """Says u = `readout.x` + `position.shift` + `token.still` whatever the sample.

    Free, x and shift each take half of what u moves, and u moves twice as fast as x alone would;
    still is fixed. The groups are readout, embeddings.position, embeddings.token.
    """

    stackable: ClassVar[bool] = True
    fixed: ClassVar[tuple[str, ...]] = ("token.still",)
    memberwise: ClassVar[tuple[str, ...]] = ("initial_scale", "mean")
    kind: Literal["point"] = "point"
    mean: float = 0.0

    def build(self, interface: Interface) -> nn.Module:
        return Point()

    def start(self, name: str) -> Start:
        return Start(1.0, mean=self.mean)

    def rate(self, parameters) -> Tensor:
        return parameters["readout.x"].square().sum()


class Half(Instrument):
    """Events of a `Bowl`: coordinates 0 and 7 have come half of their way; never; from the start.

    Reads the distance that remains of coordinate 0, to compare signals with readings.
    """

    kind: Literal["half"] = "half"
    cadence: AnyCadence = Cadence(every=1)

    def needs(self, task: Task) -> Needs:
        return Needs(training=True, initial=True, outputs=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        return {"left": self._left(reading)[0]}

    def events(self, reading: Reading) -> dict[str, Tensor]:
        left = self._left(reading)
        one = torch.ones_like(left[0])
        return {"first": 0.5 - left[0], "eighth": 0.5 - left[7], "never": -one, "always": one}

    def _left(self, reading: Reading) -> Tensor:
        bottom = reading.batch["targets"].mean((-3, -2))
        now, then = point(reading.parameters), point(reading.initial)
        return ((now - bottom) / (then - bottom)).abs()


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for group, name in (("token", "still"), ("position", "shift"), ("readout", "x")):
            inner = nn.Module()
            inner.register_parameter(name, nn.Parameter(torch.zeros(SIZE)))
            self.add_module(group, inner)

    def forward(self, tokens: Tensor, tape: Tape = SILENT) -> Tensor:
        u = point(dict(self.named_parameters()))
        return u[..., None, None, :].expand(*u.shape[:-1], tokens.shape[-2], 1, SIZE)


def point(parameters) -> Tensor:
    """u [*member, SIZE]."""
    return parameters["readout.x"] + parameters["position.shift"] + parameters["token.still"]


def stiffness(dtype: torch.dtype = torch.float64) -> Tensor:
    """0.25, 0.5, ... 4."""
    return torch.arange(1, SIZE + 1, dtype=dtype) / 4


FROZEN = {"kind": "freeze", "groups": ["embeddings.position"]}
KINDS = (Bowl, Pole, PointModel, Half)
for part in KINDS:  # other tests list what there is: these are known where they are asked for
    del part.registry[part.model_fields["kind"].default]


@pytest.fixture
def bowl(monkeypatch: pytest.MonkeyPatch):
    """An experiment with these parts, top-level fields replaced at will."""
    for part in KINDS:
        monkeypatch.setitem(part.registry, part.model_fields["kind"].default, part)

    def make(**changes: Any) -> Experiment:
        flow = {"kind": "gradient-flow", "duration": 2.0, "rtol": 1e-10, "atol": 1e-12}
        plain = {
            "task": "bowl",
            "model": "point",
            "optimizer": {**flow, **changes.pop("flow", {})},
            "steps": 8,
            "examples": 32,
            "batch": 32,
            "seeds": 3,
            "engine": {"workers": 1, "precision": "float64"},
        }
        return Experiment.of({**plain, **changes})

    return make
