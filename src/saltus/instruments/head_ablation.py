"""Head ablation: what is lost when heads no longer choose where they look (2410.22244)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, StringConstraints, field_validator
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, captured
from saltus.models.edits import Ablation, Head, ablations, unchanged
from saltus.tasks.base import Task

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
INTACT = "intact"


class HeadAblation(Instrument):
    """The loss and the task's metrics with the attention patterns of some heads replaced.

    `uniform` puts 1 / keys on every key that a query may look at, `batch-mean` the head's own
    pattern averaged over the batch (section 6.2 of our spec); the rest of the forward pass is
    computed anew. On `samples` samples of the evaluation batch's kind.

    - `head-ablation/intact/<metric>`: the model as it is;
    - `head-ablation/<metric>/blocks.i` [head]: each head of each layer alone, or, where `sets`
      names some,
    - `head-ablation/<set>/<metric>`: all heads [layer, head] of the set at once.

    `<metric>` is `loss` and each of the task's own. `label` takes the place of `head-ablation`,
    so that both modes can stand side by side. One forward pass per head or set.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["head-ablation"] = "head-ablation"
    mode: Ablation = "uniform"
    samples: int = Field(default=256, ge=1)
    sets: dict[Name, tuple[Head, ...]] = Field(default_factory=dict)
    label: Name = "head-ablation"
    cadence: AnyCadence = Cadence(at=())  # one pass per head: at the first and the last step

    @field_validator("sets")
    @classmethod
    def _intact_is_taken(cls, sets: dict) -> dict:
        if INTACT in sets:
            raise ValueError(f"'{INTACT}' is the model as it is; allowed: any other name")
        return sets

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self._sites(), samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        sites = captured(reading, self._sites())
        label, results = self.label, {}
        for name, heads in {INTACT: (), **self.sets}.items():
            for metric, value in self._without(heads, reading).items():
                results[f"{label}/{name}/{metric}"] = value
        for site, heads in sites.items() if not self.sets else ():
            _, layer, *_ = site.split(".")
            each = [self._without([(int(layer), k)], reading) for k in range(heads.shape[-3])]
            for metric in each[0]:
                found = torch.stack([values[metric] for values in each], dim=-1)
                results[f"{label}/{metric}/blocks.{layer}"] = found
        return results

    def _without(self, heads: tuple[Head, ...] | list[Head], reading: Reading) -> dict[str, Tensor]:
        """{metric: [*members]} with some heads ablated."""
        assert reading.run is not None  # this instrument is stacked
        task, batch = reading.task, reading.batch
        # Every pass writes its patterns out, so that passes differ by the ablation alone.
        edits = {**ablations(heads, self.mode), PATTERNS[0]: (unchanged,)}
        outputs = reading.run(batch["inputs"], edits=edits).outputs
        return {"loss": task.loss(outputs, batch).mean(-1), **task.metrics(outputs, batch)}

    def _sites(self) -> tuple[str, ...]:
        """What the heads of the layers write: it tells how many there are."""
        layers = sorted({layer for heads in self.sets.values() for layer, _ in heads})
        return tuple(f"blocks.{layer}.attention.heads" for layer in layers or ["*"])
