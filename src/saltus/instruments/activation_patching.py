"""Activation patching: which heads carry the answer from one input to another (2410.22244)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, StringConstraints, model_validator
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.instruments.distance import distances
from saltus.models.edits import Index, writing
from saltus.random import Draws
from saltus.tasks.base import Batch, Task

Places = Literal["all", "masked", "observed", "answers"]


class ActivationPatching(Instrument):
    """Head outputs (attention V, before the output projection) of a clean run, written into a run
    on the corrupted twin of each input (section 6.4 of our spec: X and -X, the same mask).

    Where patched outputs move from the twin's answer to the clean one, the patched heads carry
    what tells the two apart. `layers`, `heads` and `positions` say where: lists of numbers from 0,
    `all`, or positions that are `masked`, `observed`, or those whose outputs are `answers`.

    - `sweep: heads` patches one head at a time: arrays `.../blocks.i` [head];
    - `sweep: layers` patches the heads of one layer at a time: scalars `.../blocks.i`;
    - `sweep: set` patches all of them at once: the scalar `.../patched`.

    Each for `activation-patching/to-clean/<part>` and `activation-patching/to-corrupted/<part>`,
    the distance to either answer: squared error at `masked` and `observed` positions, or the
    `loss` and `accuracy` of an answer of tokens, or the task's `loss`. The scalars
    `.../unpatched` and `.../clean` are the ends of the scale: the corrupted and the clean run as
    they are. `activation-patching/identity` must be 0: the largest change of an output when the
    clean run is patched with its own activations, everywhere. `label` takes the place of
    `activation-patching`.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["activation-patching"] = "activation-patching"
    sweep: Literal["heads", "layers", "set"] = "heads"
    layers: Literal["all"] | tuple[Index, ...] = "all"
    heads: Literal["all"] | tuple[Index, ...] = "all"
    positions: Places | tuple[Index, ...] = "all"
    samples: int = Field(default=256, ge=1)
    label: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")] = (
        "activation-patching"
    )
    cadence: AnyCadence = Cadence(at=())  # one pass per head: at the first and the last step

    @model_validator(mode="after")
    def _a_sweep_of_heads_has_them_all(self) -> ActivationPatching:
        if self.sweep == "heads" and self.heads != "all":
            raise ValueError(
                f"heads {list(self.heads)}: sweep heads goes through all of them; "
                "allowed: all, or sweep layers or set"
            )
        return self

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self._sites(), samples=self.samples)

    def check(self, task: Task) -> None:
        positions = self.positions
        if positions == "answers" and task.output_rows() is None:
            raise ValueError(f"positions answers: task {task.kind} has no answer positions")
        if positions in ("masked", "observed") and not hides(task):
            raise ValueError(
                f"positions {positions}: task {task.kind} has no masked positions; "
                "allowed: all, answers, or a list of positions"
            )
        # Of an image a model makes as many tokens as it likes: then `read` sees what there is.
        if isinstance(positions, tuple) and task.interface.takes != "images":
            last = task.interface.positions - 1
            if wrong := [position for position in positions if position > last]:
                raise ValueError(f"positions {wrong[0]} is not allowed: 0 to {last}")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.run is not None  # this instrument is stacked
        run, task, batch = reading.run, reading.task, reading.batch
        sites = tuple(captured(reading, self._sites()))
        twin = task.corrupted(batch)
        clean = run(batch["inputs"], capture=sites)
        where = self._where(task, batch, clean.sites[sites[0]].shape[-2]) if sites else None

        def patched(layers: tuple[str, ...], heads: tuple[int, ...] | None) -> dict[str, Tensor]:
            edits = {site: (writing(clean.sites[site], heads, where),) for site in layers}
            return self._far(task, run(twin["inputs"], edits=edits).outputs, batch, twin)

        own = {site: (writing(clean.sites[site], None, None),) for site in sites}
        same = run(batch["inputs"], edits=own).outputs
        change = (same - clean.outputs).abs().flatten(-3).amax(-1)
        results = {f"{self.label}/identity": change}
        results |= _named(self._far(task, clean.outputs, batch, twin), "clean")
        results |= _named(patched((), None), "unpatched")
        chosen = None if self.heads == "all" else self.heads
        if self.sweep == "set":
            return results | _named(patched(sites, chosen), "patched")
        for site in sites:
            if self.sweep == "layers":
                found = patched((site,), chosen)
            else:
                count = clean.sites[site].shape[-3]
                each = [patched((site,), (head,)) for head in range(count)]
                found = {name: torch.stack([one[name] for one in each], -1) for name in each[0]}
            results |= _named(found, site.removesuffix(".attention.heads"))
        return results

    def _sites(self) -> tuple[str, ...]:
        layers = ("*",) if self.layers == "all" else self.layers
        return tuple(f"blocks.{layer}.attention.heads" for layer in layers)

    def _far(self, task: Task, outputs: Tensor, clean: Batch, twin: Batch) -> dict[str, Tensor]:
        answers = {"to-clean": clean, "to-corrupted": twin}
        return {
            f"{self.label}/{name}/{part}": value
            for name, batch in answers.items()
            for part, value in distances(task, outputs, batch).items()
        }

    def _where(self, task: Task, batch: Batch, length: int) -> Tensor | None:
        """True at the positions to write to, of `length`; None: at all of them."""
        if self.positions == "all":
            return None
        if self.positions in ("masked", "observed"):
            observed = batch["observed"]
            return observed if self.positions == "observed" else ~observed
        where = torch.zeros(length, dtype=torch.bool)
        if self.positions == "answers":
            where[task.output_rows()] = True
        else:
            assert isinstance(self.positions, tuple)
            if wrong := [position for position in self.positions if position >= length]:
                raise SaltusError(f"positions: {wrong[0]} is not allowed: 0 to {length - 1}")
            where[list(self.positions)] = True
        return where


def hides(task: Task) -> bool:
    """Whether each position of the task's inputs is either observed or masked."""
    batch = task.sample(Draws(0, "check"), 1)
    observed = batch.get("observed")
    return observed is not None and observed.shape == batch["inputs"].shape


def _named(values: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    return {f"{name}/{what}": value for name, value in values.items()}
