"""Following gradient flow: an ensemble's members, each on its own path with its own step size.

The velocity is the engine's own gradient, computed for the members that need it; the solver is
`saltus.flow`. Nothing here knows a task or a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.integrator import Integrator
from saltus.training.ensemble import Ensemble
from saltus.training.gradient_flow import GradientFlow
from saltus.training.readings import State, signals

OWN = "state/flow/"  # names of the solver's tensors in a checkpoint


class Follower:
    """Moves an ensemble's parameters from one moment of its flow to the next."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        settings, self.steps = ensemble.experiment.optimizer, ensemble.experiment.steps
        assert isinstance(settings, GradientFlow)
        if ensemble.dtype != torch.float64:
            given = ensemble.experiment.engine.precision
            raise SaltusError(f"engine.precision: {given} cannot follow a flow; allowed: float64")
        self.settings = settings
        self.moments = settings.times(self.steps)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """From the moment of `step` to that of `step + 1`.

        A member whose velocity stops being finite stays where it was and is retired.
        """
        ensemble = self.ensemble
        reached = self.integrator.at(self.times(step + 1))
        for row in range(len(ensemble.members)):
            if row in self.integrator.failed:
                ensemble.diverged.setdefault(row, step)
            elif row not in ensemble.diverged:
                ensemble.flat[row].copy_(reached[row])

    def progress(self, step: int) -> dict[str, Tensor]:
        """What a run keeps of the integration, per member.

        `flow/time`, in units of the flow whatever the clock; `flow/evaluations` of the velocity
        and `flow/rejected` steps so far; `time/<event>`, on the clock, NaN until it happened.
        """
        times = self.times(step)
        found = self.integrator.events_by(times)
        rates = torch.tensor(self.rates, dtype=torch.float64)
        counts = self.integrator.counts
        return {
            "flow/time": torch.tensor(times, dtype=torch.float64),
            "flow/evaluations": torch.tensor(counts.evaluations),
            "flow/rejected": torch.tensor(counts.rejected),
        } | {f"time/{name}": found[:, i] * rates for i, name in enumerate(self.events)}

    def times(self, step: int) -> list[float]:
        """The time of every member at a step."""
        return [self.moments[step] / rate for rate in self.rates]

    @cached_property
    def rates(self) -> list[float]:
        """What each member's clock is divided by to give time."""
        members, initial = self.ensemble.members, self.ensemble.initial
        if self.settings.clock == "time":
            return [1.0] * len(members)
        rates = []
        for row, (seed, experiment, _) in enumerate(members):
            model = experiment.model
            try:
                rate = float(model.rate({name: value[row] for name, value in initial.items()}))
            except NotImplementedError:
                raise SaltusError(
                    f"optimizer.clock: model {model.kind} has no rate of its own; allowed: time"
                ) from None
            if not 0.0 < rate < math.inf:
                raise SaltusError(
                    f"optimizer.clock: model {model.kind} starts with rate {rate:g} for seed "
                    f"{seed}; allowed: time"
                )
            rates.append(rate)
        return rates

    @cached_property
    def integrator(self) -> Integrator:
        """The solver, at time 0."""
        return Integrator(
            lambda rows, states: self.slope(rows, states)[0],
            self._start(),
            end=self.times(self.steps),
            rtol=self.settings.rtol,
            atol=self.settings.atol,
            method=self.settings.method,
            signals=self._signals if self.events else None,
            events=len(self.events),
        )

    @cached_property
    def events(self) -> tuple[str, ...]:
        """The events that the experiment's instruments watch for."""
        if not any(part.has_events for part in self.ensemble.experiment.instruments):
            return ()
        ensemble = self.ensemble
        return tuple(signals(ensemble, State(None, ensemble.initial, ensemble.initial)))

    def slope(
        self, rows: Sequence[int], states: Float[Tensor, "row state"]
    ) -> tuple[Float[Tensor, "row state"], dict[str, Tensor]]:
        """The velocity of some members at some states, and the gradient that it comes from.

        The velocity is -(gradient + weight_decay * parameters), 0 for what is frozen.
        """
        ensemble = self.ensemble
        leaves = ensemble.layout.views(states.detach())
        leaves = {name: view.requires_grad_() for name, view in leaves.items()}
        batch = ensemble.training_batch(0)
        if len(rows) < len(ensemble.members):
            batch = {name: value[list(rows)] for name, value in batch.items()}
        with torch.enable_grad():
            losses = ensemble.losses(leaves, batch, ensemble.tape(0, rows=rows))
            found = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
        gradient = dict(zip(leaves, found, strict=True))
        slope = torch.zeros_like(states)
        torch._foreach_copy_(list(ensemble.layout.views(slope).values()), list(found))
        slope.neg_()
        for place, row in enumerate(rows):
            if decay := ensemble.optimizers[row].weight_decay:
                slope[place].sub_(states[place] * decay)
            for name in ensemble.frozen(row, 0):
                start, end = ensemble.layout.spans[name]
                slope[place, start:end] = 0.0
        return slope, gradient

    def state(self) -> dict[str, Tensor]:
        """All that a resumed run needs."""
        own = {OWN + name: value for name, value in self.integrator.state().items()}
        return self.ensemble.state() | own

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state()`."""
        self.ensemble.restore(tensors)
        own = {n.removeprefix(OWN): v for n, v in tensors.items() if n.startswith(OWN)}
        self.integrator.restore(own)

    def _start(self) -> Tensor:
        start = torch.zeros_like(self.ensemble.flat)
        for name, view in self.ensemble.layout.views(start).items():
            view.copy_(self.ensemble.initial[name])
        return start

    def _signals(self, rows: Sequence[int], states: Tensor) -> Tensor:
        """[row, event]."""
        _, gradient = self.slope(rows, states)
        state = State(list(rows), self.ensemble.layout.views(states), gradient)
        found = signals(self.ensemble, state)
        return torch.stack([found[name].to(states.dtype) for name in self.events], dim=-1)
