"""Probes of whole samples: many linear maps, or tiny MLPs, trained side by side by AdamW."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from saltus.random import Draws

# Every member's share of a tensor is a whole number of vectors: see saltus.training.isolation.
QUANTUM = 16
BETAS, EPSILON, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01  # PyTorch's own for AdamW


class Recipe(NamedTuple):
    """How every probe is trained."""

    hidden: int  # units of each probe's hidden layer; 0: a linear map
    steps: int
    batch: int
    learning_rate: float  # constant
    label_smoothing: float
    seed: int  # of the order of the samples, and of how hidden units start


class Probes(NamedTuple):
    """Trained probes, one per member, representation and target.

    A linear map of every target stands in columns of `layers[0]`; with hidden units each target
    has its own in `layers[0]`, and `layers[1]` joins them to its columns alone.
    """

    layers: list[Float[Tensor, "member probe _ _"]]
    columns: tuple[slice, ...]  # of the logits, per target
    one: int  # the hidden unit that is always 1

    def logits(
        self, features: Float[Tensor, "member probe sample feature"]
    ) -> list[Float[Tensor, "member probe sample class"]]:
        """Of every target."""
        if len(self.layers) > 1:
            features = activated(features, self.layers[0], self.one)
        found = features @ self.layers[-1]
        return [found[..., own] for own in self.columns]


def train(
    features: Float[Tensor, "member probe sample feature"],
    labels: Sequence[Int[Tensor, "member sample"]],
    classes: Sequence[int],
    recipe: Recipe,
) -> Probes:
    """Fit a probe to every (member, probe, target): softmax cross-entropy with label smoothing.

    `features` are as `probed_states.gathered` lays them out: the last of them is 1 in every
    sample, so that there is a bias. AdamW at a constant rate, its other settings PyTorch's own; a
    linear map starts at zero, a hidden layer as PyTorch's Linear. Losses are summed over targets,
    which share no weight: each is trained as if it were alone. Minibatches run through one drawn
    order after another, the same for all probes, dropping nothing.
    """
    samples = features.shape[-2]
    columns, width = laid_out(classes)
    wanted = smoothed(labels, classes, recipe.label_smoothing).to(features.dtype)
    layers, mask = started(features, columns, width, recipe)
    one = len(columns) * recipe.hidden
    slots = [(torch.zeros_like(layer), torch.zeros_like(layer)) for layer in layers]
    flat = features.flatten(0, 1)
    for count, chosen in enumerate(batches(recipe, samples, features.device), start=1):
        shown = flat.index_select(1, chosen).view(*features.shape[:2], len(chosen), -1)
        inputs = shown if mask is None else activated(shown, layers[0], one)
        errors = softmax(inputs @ layers[-1], classes)
        errors.sub_(wanted.index_select(1, chosen).unsqueeze(1)).div_(len(chosen))
        gradients = [inputs.mT @ errors]
        if mask is not None:
            back = (errors @ layers[-1].mT) * (inputs > 0)
            back[..., one] = 0
            gradients = [shown.mT @ back, gradients[0] * mask]
        for layer, gradient, (first, second) in zip(layers, gradients, slots, strict=True):
            _adamw(layer, gradient, first, second, count, recipe.learning_rate)
    return Probes(layers, columns, one)


def activated(
    features: Float[Tensor, "member probe sample feature"],
    weights: Float[Tensor, "member probe feature unit"],
    one: int,
) -> Float[Tensor, "member probe sample unit"]:
    """A hidden layer of ReLU units; the unit `one` is 1, for the bias of the layer behind."""
    found = (features @ weights).relu_()
    found[..., one] = 1
    return found


def softmax(
    logits: Float[Tensor, "*probes sample column"], classes: Sequence[int]
) -> Float[Tensor, "*probes sample column"]:
    """Softmax within the columns of each target; columns of none stay 0."""
    found, first = torch.zeros_like(logits), 0
    for size, alike in groupby(classes):
        count = len(list(alike))
        own = slice(first, first + count * size)
        found[..., own] = logits[..., own].unflatten(-1, (count, size)).softmax(-1).flatten(-2)
        first = own.stop
    return found


def smoothed(
    labels: Sequence[Int[Tensor, "member sample"]], classes: Sequence[int], smoothing: float
) -> Float[Tensor, "member sample column"]:
    """(1 - smoothing) onehot + smoothing / classes, target beside target; 0 in other columns."""
    columns, width = laid_out(classes)
    shape = (*labels[0].shape, width)
    found = torch.zeros(shape, device=labels[0].device, dtype=torch.float64)
    for own, truth, size in zip(columns, labels, classes, strict=True):
        found[..., own] = F.one_hot(truth, size).double() * (1 - smoothing)
        found[..., own] += smoothing / size
    return found


def laid_out(classes: Sequence[int]) -> tuple[tuple[slice, ...], int]:
    """The columns of every target, and how many there are with those that fill up."""
    columns, first = [], 0
    for size in classes:
        columns.append(slice(first, first + size))
        first += size
    return tuple(columns), filled(first)


def filled(width: int) -> int:
    """The width rounded up to whole vectors."""
    return -(-width // QUANTUM) * QUANTUM


def started(
    features: Float[Tensor, "member probe sample feature"],
    columns: Sequence[slice],
    width: int,
    recipe: Recipe,
) -> tuple[list[Float[Tensor, "member probe _ _"]], Float[Tensor, "unit column"] | None]:
    """The layers at their start, and which weights of the last one there are, if not all."""
    members, probes, _, inputs = features.shape
    if not recipe.hidden:
        return [features.new_zeros(members, probes, inputs, width)], None
    one = len(columns) * recipe.hidden
    first = features.new_zeros(inputs, filled(one + 1))
    last = features.new_zeros(first.shape[-1], width)
    mask = torch.zeros_like(last)
    for place, own in enumerate(columns):
        size = own.stop - own.start
        mine = slice(place * recipe.hidden, (place + 1) * recipe.hidden)
        # By the number of classes: a target starts alike whatever stands beside it.
        draws = Draws(recipe.seed, f"probe/start/{size}", 0, features.device, features.dtype)
        first[:, mine] = (2 * draws.uniform(inputs, recipe.hidden) - 1) * inputs**-0.5
        last[mine, own] = (2 * draws.uniform(recipe.hidden, size) - 1) * recipe.hidden**-0.5
        mask[mine, own] = mask[one, own] = 1
    layers = [each.expand(members, probes, *each.shape).contiguous() for each in (first, last)]
    return layers, mask


def batches(recipe: Recipe, samples: int, device: torch.device) -> Iterator[Int[Tensor, " chosen"]]:
    """The samples of every step: drawn orders of all, end to end, cut into batches."""
    size = min(recipe.batch, samples)
    epochs = -(-recipe.steps * size // samples)
    order = Draws(recipe.seed, "probe/order", 0, device).permutation(samples, epochs).flatten()
    yield from order[: recipe.steps * size].view(recipe.steps, size)


def _adamw(
    weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor, count: int, rate: float
) -> None:
    """One step of AdamW on stacked weights, by PyTorch's fused kernel."""
    torch._fused_adamw_(
        [weights],
        [gradient],
        [first],
        [second],
        [],
        [torch.tensor(float(count), device=weights.device)],
        lr=rate,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=WEIGHT_DECAY,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )
