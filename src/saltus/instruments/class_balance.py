"""Class balance: how hard each class of the training samples still pulls."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.models.whole_vectors import pad_samples, whole_samples
from saltus.tasks.base import Task


class ClassBalance(Instrument):
    """Losses and forces of the classes of a task with logistic loss, on the training batch.

    The force of sample i is g_i = 1 / (1 + exp(y_i F_i)) = 1 - exp(-loss_i), minus the derivative
    of its loss by its margin; S of a class is the sum of its g_i (2410.09605, sections 1 and 7 of
    our spec). For every class c that the task names (`Task.class_names`):

    - `class-loss/c`: its mean loss in nats; `class-loss/all`: of all samples;
    - `force/c`: S_c; `force/mean`: mean g over all samples;
    - `spread/c`: largest over smallest g_i within the class (Cor. F.2), 1 when balanced;
    - `margin/min`: the least y_i F_i; `margin/right`: the fraction of samples with y F > 0.

    An absent class has loss 0, force 0 and spread 0.
    """

    kind: Literal["class-balance"] = "class-balance"
    cadence: AnyCadence = Cadence(every=50)

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, training=True)

    def check(self, task: Task) -> None:
        if not task.class_names:
            raise ValueError(f"task {task.kind} has no classes of samples")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        losses, classes = reading.losses, reading.batch["classes"]
        assert losses is not None  # `needs` asked for it
        forces = force(losses)
        margins = margin(losses)
        results = {
            "class-loss/all": losses.mean(),
            "force/mean": forces.mean(),
            "margin/min": margins.amin(),
            "margin/right": (margins > 0).to(losses.dtype).mean(),
        }
        for index, name in enumerate(reading.task.class_names):
            inside = classes == index
            share, count = inside.to(losses.dtype), inside.sum().clamp(min=1)
            largest = torch.where(inside, forces, 0.0).amax()
            smallest = torch.where(inside, forces, torch.inf).amin()
            results[f"class-loss/{name}"] = (losses * share).sum() / count
            results[f"force/{name}"] = (forces * share).sum()
            results[f"spread/{name}"] = largest / smallest
        return results


def force(losses: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
    """g = 1 / (1 + exp(z)) of a loss log(1 + exp(-z)): exact for small losses too."""
    samples = losses.shape[-1]
    padded = pad_samples(losses, -1, whole_samples(samples, 1, losses.dtype))
    return -torch.expm1(-padded)[..., :samples]


def margin(losses: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
    """z of a loss log(1 + exp(-z)): -log(exp(loss) - 1) = -(loss + log(1 - exp(-loss)))."""
    samples = losses.shape[-1]
    padded = pad_samples(force(losses), -1, whole_samples(samples, 1, losses.dtype))
    return -(losses + torch.log(padded)[..., :samples])
