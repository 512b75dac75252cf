"""A task whose samples have classes, and a model that shows its inputs as they are."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn.functional import cross_entropy

from saltus.instruments import Instrument, Reading
from saltus.instruments.base import Pass
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Task

OUTPUT, HEADS = "blocks.0.attention.output", "blocks.0.attention.heads"


class Marked(Task):
    """Normal vectors at two positions. Of each sample: the sign of one number, which of three is
    the largest, whether two have the same sign, a coin that has nothing to do with it."""

    kind: Literal["marked"] = "marked"
    features: int = 4

    @property
    def interface(self) -> Interface:
        return Interface(0, 2, 3, features=self.features)

    def sample(self, draws, batch):
        return {
            "inputs": draws.normal(batch, 2, self.features),
            "coin": draws.integers(0, 2, batch),
        }

    def label_classes(self):
        return {"largest": 3, "sign": 2, "same": 2, "coin": 2}

    def labels(self, batch):
        first = batch["inputs"][..., 0, :]
        signs = (first > 0).long()
        return {
            "largest": first[..., :3].argmax(-1),
            "sign": signs[..., 0],
            "same": (signs[..., 0] == signs[..., 1]).long(),
            "coin": batch["coin"],
        }

    def loss(self, outputs, batch):
        flat = outputs[..., -1, :].flatten(0, -2)
        found = cross_entropy(flat, self.labels(batch)["largest"].flatten(), reduction="none")
        return found.view(batch["coin"].shape)


del Task.registry["marked"]  # other tests list what there is


def reading(
    part: Instrument, seeds: int | list[int] = 0, dtype: torch.dtype = torch.float32, **fields: Any
) -> Reading:
    """The reading of a model whose only block writes the inputs, as they are and cut into heads of
    two numbers."""
    task = Marked(**fields)
    samples = part.needs(task).samples
    assert samples is not None

    def run(inputs, *, edits=None, capture=(), parameters=None):
        heads = inputs.unflatten(-1, (-1, 2)).transpose(-2, -3)
        return Pass(inputs, {OUTPUT: inputs, HEADS: heads, "blocks.0.residual.pre": 10 * inputs})

    batch = task.sample(Draws(seeds, "evaluation", 0, dtype=dtype), samples)
    return Reading(task=task, parameters={"one": torch.ones(1, dtype=dtype)}, batch=batch, run=run)
