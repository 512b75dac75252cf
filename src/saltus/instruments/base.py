"""What an Instrument is: something read at chosen steps, written for ONE model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from torch import Tensor

from saltus.models.base import Model
from saltus.models.sites import Edit
from saltus.parts import Part, Record
from saltus.tasks.base import Batch, Task


class Cadence(Record):
    """When something is read: every n steps, n times per factor of ten, or at a list of steps.

    The first and the last step are always read.
    """

    every: int | None = Field(default=None, ge=1)
    per_decade: int | None = Field(default=None, ge=1)
    at: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Cadence:
        if sum(value is not None for value in (self.every, self.per_decade, self.at)) != 1:
            raise ValueError("give exactly one of every, per_decade, at")
        return self

    def due(self, step: int, steps: int) -> bool:
        """Whether to read at this step of a training of `steps` steps."""
        if step in (0, steps):
            return True
        if self.every is not None:
            return step % self.every == 0
        if self.at is not None:
            return step in self.at
        assert self.per_decade is not None
        return any(round(10 ** (i / self.per_decade)) == step for i in self._near(step))

    def _near(self, step: int) -> range:
        assert self.per_decade is not None
        digits = len(str(step))
        return range((digits - 1) * self.per_decade, digits * self.per_decade + 1)


def _cadence(value: Any) -> Any:
    return {"every": value} if isinstance(value, int) else value


AnyCadence = Annotated[Cadence, BeforeValidator(_cadence)]


class Needs(NamedTuple):
    """What an instrument reads, so that the engine computes only that.

    A batch comes with sites, outputs and generated answers; by `training`, `task` or `samples`
    alone it comes without a forward pass.
    """

    sites: tuple[str, ...] = ()  # shell-style patterns; captured on the batch
    outputs: bool = False  # outputs and per-sample losses on the batch
    gradients: bool = False  # the training gradient at this step
    generated: bool = False  # what the model writes on its own (Task.generate)
    sample_gradients: int = 0  # gradients of this many single samples
    initial: bool = False  # the parameters at step 0 as well, and the same sites under them
    training: bool = False  # the batch is this step's training batch, not an evaluation batch
    task: Task | None = None  # whose evaluation batch it is, if not the experiment's
    samples: int | None = None  # of the evaluation batch; if not given, the experiment's number
    donor: bool = False  # the parameters of another checkpoint, to take some of
    update: bool = False  # what the optimiser's step from this state on changes

    @property
    def look(self) -> bool:
        """Whether a batch must be drawn at all."""
        forward = bool(self.sites) or self.outputs or self.generated
        named = self.training or self.samples is not None or self.task is not None
        return forward or self.sample_gradients > 0 or named


class Pass(NamedTuple):
    """One forward pass: what came out, and the sites that were asked for."""

    outputs: Tensor
    sites: Mapping[str, Tensor]


@runtime_checkable
class Passes(Protocol):
    """Runs the model again: on other inputs, with sites overwritten, with other parameters.

    Interventions that are in force act first, `edits` (pattern of sites -> functions) after them.
    """

    def __call__(
        self,
        inputs: Tensor,
        *,
        edits: Mapping[str, tuple[Edit, ...]] | None = None,
        capture: Sequence[str] = (),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Pass: ...


@dataclass(frozen=True)
class Reading:
    """One model at one step, as an instrument sees it. Everything is on the evaluation batch,
    a fresh one that is a pure function of (seed, step), or on the training batch of this step
    (`Needs.training`), except `gradients`, which is always the training gradient of the update
    that follows, before clipping and rescaling, and `update`, which is that update itself.
    """

    task: Task
    parameters: Mapping[str, Tensor]
    model: Model | None = None  # None for a stranger's module
    initial: Mapping[str, Tensor] = field(default_factory=dict)  # the parameters at step 0
    initial_sites: Mapping[str, Tensor] = field(default_factory=dict)  # under these
    batch: Batch = field(default_factory=dict)
    outputs: Tensor | None = None  # [batch, position, output]
    losses: Tensor | None = None  # [batch]
    sites: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    generated: Tensor | None = None  # [batch, answer]
    sample_gradients: Mapping[str, Tensor] = field(default_factory=dict)  # [sample, *shape]
    donor: Mapping[str, Tensor] = field(default_factory=dict)  # parameters of another checkpoint
    update: Mapping[str, Tensor] = field(default_factory=dict)  # theta_{t+1} - theta_t
    run: Passes | None = None  # for stacked instruments


class Instrument(Part):
    """Named scalars or arrays of one model; the engine maps `read` over the ensemble.

    `read` is mapped by `torch.func.vmap`: no branch on tensor values, no `.item()`.

    An instrument that runs the model again is `stacked`: its `read` is called once, every tensor
    of the reading leads with a member axis (or with none, for a single model), and so must every
    result; it counts axes from the end, and `reading.run` takes stacked inputs and parameters.
    """

    stacked: ClassVar[bool] = False
    cadence: AnyCadence = Cadence(every=10)

    def needs(self, task: Task) -> Needs:
        """What `read` will look at."""
        return Needs()

    def read(self, reading: Reading) -> dict[str, Tensor]:
        """Named results, scalars or arrays."""
        if self.has_events:
            return {}
        raise NotImplementedError(type(self).__name__)

    def events(self, reading: Reading) -> dict[str, Tensor]:
        """Signed scalars; an event happens when its signal first passes from negative to >= 0.

        Recorded as `signal/<name>` with the readings. Under gradient flow the moment itself is
        found on the path, to the solver's precision, and recorded as `time/<name>`; an instrument
        that does not read the training batch is watched on the evaluation batch of step 0.
        """
        return {}

    @property
    def has_events(self) -> bool:
        return type(self).events is not Instrument.events

    def check(self, task: Task) -> None:
        """Raise ValueError where the task does not offer what this instrument needs."""


AnyInstrument = Annotated[SerializeAsAny[Instrument], BeforeValidator(Instrument.parse)]
