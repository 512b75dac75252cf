"""Component switching: some of a model's parameters from another checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.models.groups import group_of, select
from saltus.tasks.base import Batch, Task

# The two of 2410.22244. "The rest" there is every parameter whose name lacks "attention": its
# attention LayerNorm is called so as well, as it is here, and belongs to neither.
PAPER = {
    "attention-qkv": ("attention.qk", "attention.value"),
    "the-rest": ("!*attention*",),
}
WHOLE = ("intact", "donor")


class ComponentSwitching(Instrument):
    """What a model does with groups of its parameters taken from a donor checkpoint (2410.22244,
    section 6.5 of our spec), on `samples` samples of the evaluation batch's kind.

    Gives `component-switching/<switch>/loss` and each of the task's metrics, scalars in the task's
    units. `switches` maps names to patterns of `saltus.models.groups.select`. If not given:

    - `attention-qkv`: weights and biases of queries, keys and values of all layers, without the
      output projection and the LayerNorm (the paper's "att");
    - `the-rest`: every parameter whose name lacks "attention": MLPs and their LayerNorm, but the
      embeddings and the readout as well, and not the attention's LayerNorm (the paper's "mlp");
    - each named group, such as `embeddings.token`.

    Two more always stand beside them, on the same samples: `intact`, the model as it is, and
    `donor`. Since it takes two checkpoints, it is read afterwards. One forward pass per switch.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["component-switching"] = "component-switching"
    switches: dict[str, tuple[str, ...]] | None = Field(default=None, min_length=1)
    samples: int = Field(default=256, ge=1)
    cadence: AnyCadence = Cadence(every=1000)

    @field_validator("switches")
    @classmethod
    def _names_are_free(cls, value: dict[str, tuple[str, ...]] | None) -> object:
        for name, patterns in (value or {}).items():
            if name in WHOLE or not name or "/" in name:
                raise ValueError(
                    f"'{name}' is not allowed as a name: any other than {' and '.join(WHOLE)}, "
                    "without a slash"
                )
            if not patterns:
                raise ValueError(f"'{name}' names no group")
        return value

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, donor=True, samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.run is not None and reading.outputs is not None
        results = {}
        for switch, names in self._switched(reading.parameters).items():
            outputs = reading.outputs
            if names:
                taken = {name: reading.donor[name] for name in names}
                mixed = {**reading.parameters, **taken}
                outputs = reading.run(reading.batch["inputs"], parameters=mixed).outputs
            for name, value in scores(reading.task, outputs, reading.batch).items():
                results[f"component-switching/{switch}/{name}"] = value
        return results

    def _switched(self, parameters: Mapping[str, Tensor]) -> dict[str, list[str]]:
        """Which parameters each switch takes."""
        found = {"intact": [], "donor": list(parameters)}
        for switch, patterns in (self.switches or default_switches(parameters)).items():
            try:
                found[switch] = select(parameters, patterns)
            except SaltusError as error:
                raise SaltusError(f"component-switching.switches.{switch}: {error}") from None
        return found


def default_switches(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The paper's two, where the model has what they name, and one switch for each group."""
    single = {group: (group,) for group in map(group_of, names)}
    return {**PAPER, **single} if {"attention.qk", "attention.value"} <= single.keys() else single


def scores(task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
    """`loss`, the mean over the samples, and the task's metrics: one number per member each."""
    return {"loss": task.loss(outputs, batch).mean(-1), **task.metrics(outputs, batch)}
