"""K members of one architecture, trained as one: the engine's core.

Every member owns one row of a flat buffer. A step draws each member's own batch, computes all
losses in one stacked forward pass, sums them (the members share no parameter, so each row of the
gradient is its member's own), and updates row by row. No operation couples members: on CPU eager,
member k's bits do not depend on K.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from saltus import kernels
from saltus.errors import SaltusError
from saltus.experiment import Member
from saltus.models.base import initial_parameters
from saltus.models.sites import SILENT, Edit, Tape, matches
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.training.layout import Layout
from saltus.training.lift import lift, lift_edit
from saltus.training.optimizers import Descent, Share

Pieces = tuple[list[Tensor], list[Tensor], list[list[Tensor]]]


class Ensemble:
    """The state of K members and the three things a step does: draw, differentiate, update."""

    def __init__(self, members: Sequence[Member], initialise: bool = True) -> None:
        first = members[0].experiment
        self.members, self.experiment = list(members), first
        self.task, self.device, self.dtype = first.task, first.engine.device, first.engine.dtype
        self.seeds = [member.seed for member in members]
        self.module = first.model.build(self.task.interface).to(self.device, self.dtype)
        if counted := [name for name, _ in self.module.named_buffers() if "running_" in name]:
            raise SaltusError(
                f"model {first.model.kind}: buffer {counted[0]} changes while training, and "
                "members would share it; allowed: saltus.models.batch_norm.BatchNorm, which keeps "
                "each member's own"
            )
        if first.model.differs_in_training and not first.model.stackable:
            raise SaltusError(
                f"model {first.model.kind}: its training pass differs from evaluation, which only "
                "a stackable model is told; allowed: stackable models"
            )
        shapes = {name: value.shape for name, value in self.module.named_parameters()}
        self.names = list(shapes)
        self.layout = Layout(shapes, self.dtype)
        self.lifted = lift(self.module, first.model.stackable)
        if first.engine.precision == "tf32":
            torch.set_float32_matmul_precision("high")  # for this process: PyTorch has no other way
        self.forward = self.losses
        if first.engine.compile:
            kernels.are_there()  # found out here, since it cannot be traced
            self.forward = torch.compile(self.losses, dynamic=False)
        # Members whose loss stopped being finite are frozen where they were.
        self.diverged: dict[int, int] = {}
        self.updates = [0] * len(members)
        self.knows_state = True  # not where parameters alone were loaded
        self.optimizers = [member.experiment.optimizer for member in members]
        # Members with equal numbers here have equal optimisers.
        self.settings = [self.optimizers.index(optimizer) for optimizer in self.optimizers]
        self.shares = {setting: self._shares(setting) for setting in set(self.settings)}
        self.pieces: dict[tuple[int, tuple[str, ...]], list[Pieces]] = {}
        self.flat = torch.zeros(
            len(members), self.layout.size, device=self.device, dtype=self.dtype
        )
        self.gradient = torch.zeros_like(self.flat)
        self.slots = [torch.zeros_like(self.flat) for _ in range(first.optimizer.slots)]
        self.parameters = self.layout.views(self.flat)
        self.gradients = self.layout.views(self.gradient)
        self.leaves = [view.requires_grad_() for view in self.parameters.values()]
        self.statistics: dict[str, Tensor] = {}  # of the last training pass, [members, ...]
        self.rescaling = [
            [part for part in member.experiment.interventions if part.changes_gradients]
            for member in members
        ]
        self.knobs = [self._stack_knobs(index) for index in range(len(first.interventions))]
        if initialise:
            self.initialise()

    def initialise(self) -> None:
        """Step 0: every member's start is a function of its own seed and settings."""
        with torch.no_grad():
            self._start(self.parameters)

    @cached_property
    def initial(self) -> dict[str, Tensor]:
        """The parameters of step 0, [members, ...], whatever has been trained since."""
        views = self.layout.views(torch.zeros_like(self.flat))
        with torch.no_grad():
            self._start(views)
        return views

    def _start(self, parameters: Mapping[str, Tensor]) -> None:
        for row, member in enumerate(self.members):
            values = initial_parameters(
                member.experiment.model,
                self.module,
                member.seed,
                device=self.device,
                dtype=self.dtype,
            )
            for intervention in member.experiment.interventions:
                values = intervention.initialise(values, member.seed)
            for name, value in values.items():
                parameters[name][row].copy_(value)

    def draw(self, stream: str, step: int, batch: int, task: Task | None = None) -> Batch:
        """A fresh batch for every member, [members, batch, ...], of its task or another."""
        draws = Draws(self.seeds, stream, step, self.device, self.dtype)
        return (task or self.task).sample(draws, batch)

    def training_batch(self, step: int) -> Batch:
        """What step `step` learns from: fresh samples, or its share of the fixed training set.

        A fixed set is passed through once per epoch, in an order that is drawn anew for each.
        """
        experiment = self.experiment
        if experiment.examples is None:
            return self.draw("data", step, experiment.batch)
        if experiment.batch == experiment.examples:
            return self.examples
        epoch, place = divmod(step, experiment.examples // experiment.batch)
        draws = Draws(self.seeds, "order", epoch, self.device, self.dtype)
        order = draws.permutation(experiment.examples)
        chosen = order[:, place * experiment.batch : (place + 1) * experiment.batch]
        rows = torch.arange(len(self.seeds), device=self.device).unsqueeze(1)
        return {name: value[rows, chosen] for name, value in self.examples.items()}

    @cached_property
    def examples(self) -> Batch:
        """The fixed training set of every member: the batch of step 0, as large as asked for."""
        assert self.experiment.examples is not None
        return self.draw("data", 0, self.experiment.examples)

    def tape(
        self,
        step: int,
        capture: Sequence[str] = (),
        repeat: int = 1,
        rows: Sequence[int] | None = None,
    ) -> Tape:
        """A tape with the interventions in force at a step, each member repeated if asked.

        `rows` are the members that will run, all if not given.
        """
        edits: dict[str, tuple[Edit, ...]] = {}
        for index, intervention in enumerate(self.experiment.interventions):
            for site in intervention.sites():
                edits[site] = (*edits.get(site, ()), self._edit(index, step, repeat, rows))
        return Tape(capture, edits) if edits or capture else SILENT

    def training_tape(self, step: int) -> Tape:
        """The tape of a training pass, with its noise, where that is not as in evaluation."""
        tape = self.tape(step)
        if not self.experiment.model.differs_in_training:
            return tape
        noise = Draws(self.seeds, "noise", step, self.device, self.dtype)
        return Tape(edits=tape.edits, noise=noise, training=True)

    def losses(self, parameters: Mapping[str, Tensor], batch: Batch, tape: Tape) -> Tensor:
        """The mean loss of each member, [members]."""
        with self.autocast():
            outputs = self.lifted(parameters, batch["inputs"], tape)
        return self.task.loss(outputs.to(self.dtype), batch).mean(-1)

    def differentiate(self, step: int) -> Tensor:
        """Fill `gradients` for the batch of this step; returns the losses [members]."""
        tape = self.training_tape(step)
        losses = self.forward(self.parameters, self.training_batch(step), tape)
        self.statistics = tape.statistics
        found = torch.autograd.grad(losses.sum(), self.leaves, materialize_grads=True)
        torch._foreach_copy_(list(self.gradients.values()), list(found))
        return losses.detach()

    def retire(self, losses: Tensor, step: int) -> None:
        """Freeze members whose loss is NaN or infinite, and remember the step."""
        if bool(losses.isfinite().all()):
            return
        for row in (~losses.isfinite()).nonzero().flatten().tolist():
            self.diverged.setdefault(row, step)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """One optimiser step of every member that has not diverged.

        Members with equal settings share a call of the kernel, which takes their rows one by one.
        """
        together: dict[tuple[int, int, int], Pieces] = {}
        for row in range(len(self.members)):
            if row in self.diverged:
                continue
            self.updates[row] += 1
            self._keep_statistics(row, step)
            for intervention in self.rescaling[row]:
                own = {name: value[row] for name, value in self.gradients.items()}
                intervention.rescale(own, self.experiment.model, step)
            moving = self._moving(row, step)
            self._clip(row, [gradient for pieces in moving for gradient in pieces[1]])
            for place, (parameters, gradients, slots) in enumerate(moving):
                key = (self.settings[row], place, self.updates[row])
                shared = together.setdefault(key, ([], [], [[] for _ in self.slots]))
                shared[0].extend(parameters)
                shared[1].extend(gradients)
                for all_slots, own in zip(shared[2], slots, strict=True):
                    all_slots.extend(own)
        for (setting, place, count), pieces in together.items():
            rule = self.shares[setting][place].rule
            rule.update(*pieces, count, rule.rate(step, self.experiment.steps))

    @torch.no_grad()
    def foresee(self, step: int) -> dict[str, Tensor]:
        """What the update of this step will change, {name: [members, *shape]}, without making it.

        The step is made with everything that belongs to it (clipping, rescaling, frozen parts,
        running statistics), and taken back to the bit. It is 0 for members that have diverged;
        at the last step it is the update that would follow. Call `differentiate(step)` first.
        Raises SaltusError where there are no steps, or where the optimiser's state is not known.
        """
        kind = self.experiment.optimizer.kind
        if not isinstance(self.experiment.optimizer, Descent):
            raise SaltusError(
                f"optimizer {kind} makes no updates that could be read; allowed: those with steps"
            )
        if not self.knows_state:
            raise SaltusError(
                f"the state of optimizer {kind} is not at hand, so its next update is not known; "
                "allowed: reading it in training, or at the checkpoints of a run"
            )
        buffers = [self.flat, self.gradient, *self.slots]
        before, updates = [buffer.clone() for buffer in buffers], list(self.updates)
        try:
            self.update(step)
            change = self.flat - before[0]
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.updates = updates
        return self.layout.views(change)

    def progress(self, step: int) -> dict[str, Tensor]:
        """What the optimiser itself has to report at a step, {name: [members]}."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """All that a resumed run needs: named stacked parameters and `state/...`."""
        tensors = {name: value.detach().contiguous() for name, value in self.parameters.items()}
        for index, slot in enumerate(self.slots):
            tensors[f"state/slot{index}"] = slot
        tensors["state/updates"] = torch.tensor(self.updates)
        diverged = [self.diverged.get(row, -1) for row in range(len(self.members))]
        tensors["state/diverged"] = torch.tensor(diverged)
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state()`."""
        for name, view in self.parameters.items():
            view.copy_(tensors[name])
        for index, slot in enumerate(self.slots):
            slot.copy_(tensors[f"state/slot{index}"])
        self.updates = [int(count) for count in tensors["state/updates"]]
        steps = [int(step) for step in tensors["state/diverged"]]
        self.diverged = {row: step for row, step in enumerate(steps) if step >= 0}

    def autocast(self) -> torch.autocast:
        """bfloat16 arithmetic where the experiment asks for it; otherwise nothing."""
        lower = self.experiment.engine.precision == "bfloat16"
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=lower)

    def _shares(self, setting: int) -> list[Share]:
        optimizer = self.optimizers[setting]
        return optimizer.shares(self.layout.shapes) if isinstance(optimizer, Descent) else []

    def _keep_statistics(self, row: int, step: int) -> None:
        """A member's running statistics after this step's pass, but for what it has frozen."""
        if self.statistics:
            held = set(self.frozen(row, step, model=False))
            for name in self.statistics.keys() - held:
                self.parameters[name][row].copy_(self.statistics[name][row])

    def _clip(self, row: int, gradients: list[Tensor]) -> None:
        """Shorten a member's gradient, of all that moves, where it is longer than allowed."""
        optimizer = self.optimizers[row]
        assert isinstance(optimizer, Descent)
        scale = optimizer.clip_scale(gradients) if gradients else None
        if scale is not None:
            torch._foreach_mul_(gradients, scale)

    def _moving(self, row: int, step: int) -> list[Pieces]:
        """What of a row moves at a step, for every share: parameters, gradients, slots."""
        frozen = self.frozen(row, step)
        key = (row, frozen)
        if key not in self.pieces:
            self.pieces[key] = [
                (
                    self._cut(share, frozen, self.flat[row]),
                    self._cut(share, frozen, self.gradient[row]),
                    [self._cut(share, frozen, slot[row]) for slot in self.slots],
                )
                for share in self.shares[self.settings[row]]
            ]
        return self.pieces[key]

    def _cut(self, share: Share, frozen: Sequence[str], row: Tensor) -> list[Tensor]:
        """Views of what a share moves in a row: contiguous stretches, or whole parameters."""
        moving = set(share.names).difference(frozen)
        if share.rule.whole:
            return [self.layout.view(name, row) for name in self.names if name in moving]
        return [row[piece] for piece in self.layout.pieces(set(self.names) - moving)]

    def frozen(self, row: int, step: int, model: bool = True) -> tuple[str, ...]:
        """The parameters of a member that do not move at a step, the model's own fixed ones too."""
        fixed = self.experiment.model.fixed if model else ()
        names = [name for name in self.names if matches(name, fixed)] if fixed else []
        for intervention in self.members[row].experiment.interventions:
            names += intervention.frozen(self.names, step)
        return tuple(names)

    def _stack_knobs(self, index: int) -> dict[str, Tensor]:
        parts = [member.experiment.interventions[index] for member in self.members]
        knobs = {}
        for name in parts[0].memberwise:
            values = [getattr(part, name) for part in parts]
            whole = all(isinstance(value, int) for value in values)
            kind = torch.int64 if whole else torch.float64
            given = [math.nan if value is None else value for value in values]
            knobs[name] = torch.tensor(given, device=self.device, dtype=kind)
        return knobs

    def _edit(self, index: int, step: int, repeat: int, rows: Sequence[int] | None) -> Edit:
        intervention, task = self.experiment.interventions[index], self.task
        own = self.knobs[index]
        if rows is not None:
            own = {name: value[list(rows)] for name, value in own.items()}
        knobs = {name: value.repeat_interleave(repeat) for name, value in own.items()}
        count = len(self.members) if rows is None else len(rows)
        moment = torch.full((count * repeat,), step, device=self.device)

        def edit(site: str, value: Tensor, own: dict[str, Tensor], now: Tensor) -> Tensor:
            steps = self.experiment.steps
            return intervention.edit(site, value, {**own, "steps": steps}, now, task)

        return lift_edit(edit, knobs, moment)
