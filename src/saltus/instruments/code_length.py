"""Online code length: how many bits the classes of samples cost somebody who sees the states."""

from __future__ import annotations

from itertools import pairwise
from math import log, log2
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import FieldProblem, SaltusError
from saltus.instruments.base import Needs, Reading
from saltus.instruments.class_probe import SampleProbe
from saltus.instruments.probe_training import train
from saltus.instruments.probed_states import Samples, States, scale
from saltus.tasks.base import Task


class CodeLength(SampleProbe):
    """The prequential code length of a target given a representation, on the states that
    `class-probe` probes (section 8 of our spec; the form is the project's choice, use in the paper
    is not established):

        L = n_1 log2 K + sum_i bits of block i + 1 under the probe trained on blocks 1 ... i

    with K classes, and bits = -sum log2 p(class of the sample). Each block is as large as all
    before it together: they end after n / 2^(blocks - 1), ..., n / 2, n samples. Every probe is
    trained from its start for `steps` steps; features are scaled by numbers of the samples it is
    trained on.

    - `code-length/<site>/<target>/<tokens>/bits` [head], or a scalar where the site has no heads;
    - `.../compression`: n log2 K / L, 1 or less where nothing is read. No more than
      2^(blocks - 1), what the first block costs.

    Unlike accuracy it also counts how many samples it takes to find out. `samples` are drawn from
    the task for every member and step.
    """

    kind: Literal["code-length"] = "code-length"
    samples: int = Field(default=2048, ge=2)
    blocks: int = Field(default=6, ge=2, description="each as large as all before it together")

    @model_validator(mode="after")
    def _first_block(self) -> CodeLength:
        if self.samples < 2 ** (self.blocks - 1):
            least = 2 ** (self.blocks - 1)
            raise FieldProblem(
                "samples",
                f"{self.samples} is not allowed: at least {least} for {self.blocks} blocks",
            )
        return self

    def needs(self, task: Task) -> Needs:
        return Needs(task=task, samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        samples, classes = Samples.of(reading.task, reading.batch), self.classes(reading.task)
        members = samples.members
        labels = [samples.truth(name, members) for name in classes]
        results: dict[str, Tensor] = {}
        for states in self.states(reading, samples, members).values():
            bits = self._bits(states, labels, list(classes.values()))
            for (name, size), own in zip(classes.items(), bits, strict=True):
                found = {"bits": own, "compression": samples.count * log2(size) / own}
                for site, place in states.places.items():
                    for what, values in found.items():
                        mine = place.of(values if members else values[0])
                        where = f"code-length/{site}/{name}/{self.tokens}/{what}"
                        results[where] = mine.to(states.features.dtype)
        return results

    def _bits(
        self, states: States, labels: list[Int[Tensor, "member sample"]], classes: list[int]
    ) -> list[Float64[Tensor, "member probe"]]:
        """L of every target."""
        ends = ends_of(states.features.shape[-2], self.blocks)
        members, probes = states.features.shape[:2]
        total = [
            torch.full((members, probes), ends[0] * log2(size), dtype=torch.float64)
            for size in classes
        ]
        for end, following in pairwise(ends):
            seen, block = states.part(slice(0, end)), states.part(slice(end, following))
            scale(seen, block, self.scaling)
            trained = train(seen.features, [own[:, :end] for own in labels], classes, self.recipe)
            for so_far, logits, own in zip(
                total, trained.logits(block.features), labels, strict=True
            ):
                so_far += bits(logits, own[:, end:following]).to(so_far)
        return total


def ends_of(samples: int, blocks: int) -> list[int]:
    """n_1, ..., n: after how many samples each block ends."""
    if samples < 2 ** (blocks - 1):
        raise SaltusError(
            f"code-length.blocks: {blocks} of a batch of {samples} samples is not allowed; at most "
            f"{samples.bit_length()}"
        )
    return [samples >> place for place in reversed(range(blocks))]


def bits(
    logits: Float[Tensor, "member probe sample class"], truth: Int[Tensor, "member sample"]
) -> Float64[Tensor, "member probe"]:
    """-sum over samples of log2 of the probability of the sample's class.

    One member at a time: the kernel takes samples in groups, and its last bits with them.
    """
    found = []
    for own, classes in zip(logits.double(), truth, strict=True):
        lost = F.cross_entropy(own.movedim(-1, 1), classes.expand(len(own), -1), reduction="none")
        found.append(lost.sum(-1) / log(2))
    return torch.stack(found)
