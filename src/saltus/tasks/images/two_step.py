"""Two-step images: one half of the picture says which other part is to be classified."""

from __future__ import annotations

from collections.abc import Hashable
from math import isqrt
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import FieldProblem
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.images.albums import Album, album
from saltus.tasks.images.imbalance import Imbalance
from saltus.tasks.images.layouts import CELLS, CLASSES, INDICATOR, NOTHING, TARGET, Layout
from saltus.tasks.images.levels import levels
from saltus.tasks.images.painting import paint
from saltus.tasks.images.scenes import Scene, answer, draw
from saltus.tasks.images.scores import among_the_first, mean_where
from saltus.tasks.images.sources import SIDES, Source, Split
from saltus.tasks.images.variants import VARIANTS, Variant

Control = Literal["none", "always-top-right", "predict-z", "oracle"]


class TwoStepImage(Task):
    """Images of 2 x 2 cells: z decides which cell is classified, and only y is supervised
    (arXiv 2310.12956, sections 2 and 3 of our spec).

    A batch, after any leading member axes:

    - `inputs` float [batch, 3, height, width], as composed: neither clipped nor normalised;
    - `targets` [batch], the label y, and `z` [batch], 0 or 1;
    - `roles` [batch, 2, 2], what each cell is for: 1 an indicator, 2 a target, 0 neither;
    - `cells` [batch, 2, 2], the class that each cell shows, 10 where it is blank;
    - `colours` [batch, 2, 2], its colour's index in the layout's palette, behind the last where it
      is blank.

    `variant` is one of the paper's tasks or a layout of your own. A model gives one row of outputs.
    The loss is cross-entropy with `label_smoothing`, in nats.
    """

    kind: Literal["two-step-image"] = "two-step-image"
    variant: Variant | Layout = "T1"
    source: Source = "digits"
    folder: str | None = None
    split: Split = "train"
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    control: Control = "none"
    imbalance: Imbalance | None = None
    sampler: Literal["plain", "authors-exact"] = "plain"

    @model_validator(mode="after")
    def _layout_allows_it(self) -> TwoStepImage:
        if self.imbalance is not None:
            try:
                self.imbalance.check(self.layout)
            except FieldProblem as problem:
                path = ".".join(part for part in ("imbalance", problem.path) if part)
                raise FieldProblem(path, problem.text) from None
        if self.sampler == "authors-exact" and self.layout.walked is None:
            text = "authors-exact walks through no cell of this layout: allowed: plain"
            raise FieldProblem("sampler", text)
        return self

    @property
    def layout(self) -> Layout:
        """The variant, spelt out."""
        return self.variant if isinstance(self.variant, Layout) else VARIANTS[self.variant]

    @property
    def outputs(self) -> int:
        """Numbers that a model gives: one per class."""
        return 2 if self.control == "predict-z" else CLASSES

    @property
    def interface(self) -> Interface:
        side = 2 * SIDES[self.source]
        return Interface(0, 1, self.outputs, image=(3, side, side))

    @property
    def validation(self) -> TwoStepImage:
        """The same task on the images that training never shows."""
        return self.model_copy(update={"split": "validation", "sampler": "plain"})

    def sample(self, draws: Draws, batch: int) -> Batch:
        images = self.album(draws.device, draws.dtype)
        walking = self.sampler == "authors-exact"
        scene = draw(self.layout, images, draws, batch, self.imbalance, walking)
        image, colour = (part.gather(-1, scene.order) for part in (scene.image, scene.colour))
        tint = scene.tint.gather(-2, scene.order.unsqueeze(-1).expand(*scene.order.shape, 3))
        grids = {
            "roles": images.roles[scene.order],
            "cells": images.classes[image],
            "colours": colour,
        }
        bordered = self._asked_for(scene) if self.control == "oracle" else None
        return {
            "inputs": paint(images, image, tint, bordered),
            "targets": self._targets(images, scene),
            "z": scene.z,
            **{name: value.unflatten(-1, (2, 2)) for name, value in grids.items()},
        }

    def album(self, device: torch.device, dtype: torch.dtype) -> Album:
        """The images that this task shows."""
        layout = cast(Hashable, self.layout)  # frozen records are, which pyright does not see
        return album(layout, self.source, self.folder, self.split, device, dtype)

    def _targets(self, images: Album, scene: Scene) -> Int[Tensor, "*batch"]:
        if self.control == "predict-z":
            return scene.z
        decided = torch.ones_like(scene.z) if self.control == "always-top-right" else scene.z
        return answer(self.layout, images, scene, decided)

    def _asked_for(self, scene: Scene) -> Bool[Tensor, "*batch 4"]:
        """The cell that holds the label. Where both answers are in one cell, z = 0 has no border,
        so that a border still tells z."""
        one, zero = self.layout.one.cell, self.layout.zero.cell
        asked = torch.where(scene.z == 1, one, -1 if one == zero else zero)
        return scene.order == asked.unsqueeze(-1)

    def loss(
        self, outputs: Float[Tensor, "*batch 1 output"], batch: Batch
    ) -> Float[Tensor, "*batch"]:
        return self._cross_entropy(outputs, batch, self.label_smoothing)

    def _cross_entropy(self, outputs: Tensor, batch: Batch, smoothing: float) -> Tensor:
        flat = F.cross_entropy(
            outputs.flatten(0, -2),
            batch["targets"].flatten(),
            reduction="none",
            label_smoothing=smoothing,
        )
        return flat.view(batch["targets"].shape)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`; `accuracy-top2` and `accuracy-top5`, where there are more classes than that;
        `accuracy-z0` and `accuracy-z1` of the samples with that z, NaN where there are none;
        `loss-plain`, the cross-entropy without smoothing."""
        right = among_the_first(outputs.squeeze(-2), batch["targets"])
        found = {"accuracy": right(1).mean(-1)}
        for count in (2, 5):
            if count < outputs.shape[-1]:
                found[f"accuracy-top{count}"] = right(count).mean(-1)
        for z in (0, 1):
            found[f"accuracy-z{z}"] = mean_where(batch["z"] == z, right(1))
        return {**found, "loss-plain": self._cross_entropy(outputs, batch, 0.0).mean(-1)}

    def levels(self) -> dict[str, float]:
        """Losses of the strategies of section 2 of our spec; see `levels.levels`."""
        given = self.imbalance
        chance = self.layout.agreement if given is None else given.agreement(self.layout)
        return levels(self.layout, self.control, self.label_smoothing, chance)

    def corrupted(self, batch: Batch) -> Batch:
        axis = batch["targets"].ndim - 1  # of samples, behind the members
        return {name: value.roll(1, axis) for name, value in batch.items()}

    def label_classes(self) -> dict[str, int]:
        """`y`, `z`, and of each cell, 0 to 3 row by row, what it shows (`class-0`) and its colour
        group (`colour-0`); a blank cell is one class more."""
        blank = len(self.layout.shown) < len(CELLS)
        counts = {"class": CLASSES + blank, "colour": len(self.layout.palette) + blank}
        cells = {f"{k}-{i}": n for k, n in counts.items() for i in range(len(CELLS))}
        return {"y": self.outputs, "z": 2, **cells}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        found = {"y": batch["targets"], "z": batch["z"]}
        for kind, name in (("class", "cells"), ("colour", "colours")):
            for index, value in enumerate(batch[name].flatten(-2).unbind(-1)):
                found[f"{kind}-{index}"] = value
        return found

    def roles(self, batch: Batch, tokens: int) -> dict[str, Bool[Tensor, "*batch token"]]:
        """A patch has the role of the cell that holds its centre. Raises ValueError where the
        tokens are neither a square of patches nor one more."""
        side = isqrt(tokens)
        first = tokens - side**2  # the class token
        if first > 1 or not side:
            raise ValueError(
                f"{tokens} tokens: allowed: a square number of patches, or one more, "
                "such as 16 or 17"
            )
        # Twice the centre of patch i, in patches, is 2 i + 1; the second cell begins at `side`.
        half = torch.tensor([(2 * i + 1) // side for i in range(side)], device=batch["z"].device)
        patches = batch["roles"][..., half.unsqueeze(1), half].flatten(-2)
        patches = F.pad(patches, (first, 0), value=NOTHING)
        return {"indicator": patches == INDICATOR, "target": patches == TARGET}
