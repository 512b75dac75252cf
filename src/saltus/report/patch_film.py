"""Where an image model looks, frame by frame: attention on patches, laid out as the image is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.attention_map import AttentionMap
from saltus.models.vit import VisionTransformer
from saltus.random import Draws
from saltus.report.attention import PREFIX
from saltus.report.films.record import Maps
from saltus.runs import Run
from saltus.tasks.base import Batch

POOL = 16  # samples among which those that are shown are chosen
SHOWN = 2  # of them
AXES = ("row", "column")
NOTE = (
    "Attention: the class token's weights on the patches, laid out as the image is; where a model "
    "has no class token, the mean over its queries. The same samples, of the step that training "
    "ends with, in all frames of a seed; each seed has its own. Image: the brightest of its "
    "channels. The colours of a layer mean the same at every step; what lies beyond the scale has "
    "the colour of its end. On the page values are kept to 1/127 of the scale."
)
OUTLINED = "Outlined: the patches that carry an indicator."

Frames = Mapping[str, tuple[ndarray, ndarray]]  # name → steps [frame], values [frame, *shape]
Develop = Callable[[Run, int, Sequence[AttentionMap], list[int]], Frames]


def patch_maps(
    run: Run,
    experiment: Experiment,
    member: int,
    name: str,
    steps: list[int],
    tokens: int,
    develop: Develop,
) -> list[Maps]:
    """For some fixed samples of a member: the image, and each layer's and head's weights on its
    patches in every frame.

    `tokens` are the model's: patches, after a class token if there is one more. The samples are the
    first of each class of the task's `z`, where it has one, else the first two. Indicators, as
    `Task.roles` says, are outlined. Raises SaltusError where the tokens are no grid of patches.
    """
    grid = grid_of(experiment, tokens)
    batch = samples(experiment, member)
    chosen = those_shown(experiment, batch)
    layers: dict[str, list[Float[ndarray, "sample head row column"]]] = {}
    for step in steps:  # one by one: the weights of all tokens on all others are many numbers
        found = develop(run, member, [AttentionMap(batch=POOL, samples=POOL)], [step])
        for key, (_, values) in found.items():
            layer = key.removeprefix(PREFIX).removesuffix(".samples")
            if key == f"{PREFIX}{layer}.samples":
                rows = values[0][list(chosen.values())]
                layers.setdefault(layer, []).append(on_patches(rows, grid))
    if not layers:
        raise SaltusError(f"{run.name}: the model names no attention patterns")
    at = np.array(steps, dtype=np.int64)
    outlined = indicators(experiment, batch, tokens, grid)
    made = []
    for place, (label, sample) in enumerate(chosen.items()):
        picture = brightness(batch["inputs"][sample])
        still = np.broadcast_to(picture, (len(steps), 1, *picture.shape))
        made.append(Maps(name, f"image, {label}", at, still, axes=AXES, moments=((0, "image"),)))
        made += [
            Maps(name, f"{layer}, {label}", at, np.stack([frame[place] for frame in frames]),
                 None if outlined is None else outlined[sample], AXES)
            for layer, frames in layers.items()
        ]  # fmt: skip
    return made


def samples(experiment: Experiment, member: int) -> Batch:
    """The samples on which frames are read: those of the member's last step, without its axis."""
    engine, own = experiment.engine, experiment.members()[member]
    draws = Draws([own.seed], "evaluation", experiment.steps, engine.device, engine.dtype)
    batch = own.experiment.task.validation.sample(draws, POOL)
    return {name: value[0].cpu() for name, value in batch.items()}


def those_shown(experiment: Experiment, batch: Batch) -> dict[str, int]:
    """Label → its place in the batch: one sample of each z, or the first ones."""
    classes = experiment.task.label_classes().get("z", 0)
    if 2 <= classes <= SHOWN:
        z = experiment.task.labels(batch)["z"].tolist()
        if set(range(classes)) <= set(z):
            return {f"z = {each}": z.index(each) for each in range(classes)}
    return {f"sample {place}": place for place in range(SHOWN)}


def grid_of(experiment: Experiment, tokens: int) -> tuple[int, int]:
    """Rows and columns of patches. SaltusError where the tokens are no such grid."""
    model, interface = experiment.model, experiment.task.interface
    side = int(tokens**0.5)
    grid = model.patches(interface) if isinstance(model, VisionTransformer) else (side, side)
    if tokens - grid[0] * grid[1] not in (0, 1):
        raise SaltusError(
            f"film: {tokens} tokens of model {model.kind} are not a square of patches, nor one more"
        )
    return grid


def on_patches(
    patterns: Float[ndarray, "sample head token token"], grid: tuple[int, int]
) -> Float[ndarray, "sample head row column"]:
    """The class token's weights on the patches, or the mean over queries without one."""
    more = patterns.shape[-1] - grid[0] * grid[1]
    weights = patterns[..., 0, 1:] if more else patterns.mean(axis=-2)
    return weights.reshape(*patterns.shape[:2], *grid).astype(np.float64)


def indicators(
    experiment: Experiment, batch: Batch, tokens: int, grid: tuple[int, int]
) -> Bool[ndarray, "sample row column"] | None:
    """Which patches carry an indicator; None where the task does not tell them apart so."""
    square = grid[0] == grid[1]  # all that roles know
    found = experiment.task.roles(batch, tokens).get("indicator") if square else None
    if found is None:
        return None
    patches = found[..., tokens - grid[0] * grid[1] :]
    return patches.reshape(-1, *grid).numpy()


def brightness(image: Float[Tensor, "channel height width"]) -> Float[ndarray, "height width"]:
    """The largest of the channels, as far as a screen shows it: 0 to 1."""
    return image.amax(0).clamp(0, 1).double().numpy()
