"""Small trained ensembles, donors and single models for the tests of analyses of checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call

from saltus.instruments.base import Instrument, Pass, Reading
from saltus.models.sites import Tape
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny

# Shapes that may be stacked bit for bit.
DIGITS: dict[str, Any] = {
    "task": {"kind": "moving-window-sum", "length": 8, "alphabet": 6, "modulus": 7},
    "model": {"kind": "decoder", "width": 16, "heads": 2, "depth": 2, "initial_deviation": 0.3},
}
MATRICES: dict[str, Any] = {
    "task": {"kind": "matrix-completion", "rows": 4, "columns": 4, "rank": 1},
    "model": {"kind": "encoder", "width": 16, "heads": 2, "depth": 2, "initial_deviation": 0.3},
}


def trained(
    instruments: list[Any], steps: int = 2, seeds: Any = 3, where: dict[str, Any] = DIGITS
) -> Ensemble:
    """Members some steps after their start, with instruments that nothing has read yet."""
    ensemble = Ensemble(tiny(instruments=instruments, seeds=seeds, **where).members())
    for step in range(steps):
        ensemble.differentiate(step)
        ensemble.update(step)
    return ensemble


def found(ensemble: Ensemble, step: int = 2, donor: Ensemble | None = None) -> dict[str, Any]:
    """What the ensemble's instruments say of it, stacked over members."""
    given = None if donor is None else donor.parameters
    return measure(ensemble, ensemble.experiment.instruments, step, given)


def alone(
    instrument: Instrument,
    ensemble: Ensemble,
    row: int,
    step: int = 2,
    donor: Ensemble | None = None,
) -> dict[str, torch.Tensor]:
    """The same of one member as an ordinary module, with no member axis anywhere."""
    task, module = ensemble.task, ensemble.module
    needs = instrument.needs(task)
    size = needs.samples or ensemble.experiment.evaluation_batch
    drawn = ensemble.draw("evaluation", step, size)
    batch = {name: value[row] for name, value in drawn.items()}
    own = {name: value[row].detach() for name, value in ensemble.parameters.items()}

    def run(inputs, *, edits=None, capture=(), parameters=None):
        tape = Tape(capture, edits)
        return Pass(functional_call(module, dict(parameters or own), (inputs, tape)), tape.values)

    with torch.no_grad():
        whole = run(batch["inputs"], capture=needs.sites)
        reading = Reading(
            task=task,
            model=ensemble.experiment.model,
            parameters=own,
            batch=batch,
            outputs=whole.outputs,
            losses=task.loss(whole.outputs, batch),
            sites=whole.sites,
            donor={n: v[row].detach() for n, v in donor.parameters.items()} if donor else {},
            run=run,
        )
        return instrument.read(reading)


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets of results have the same names and the same bits, NaN being itself."""
    return one.keys() == other.keys() and all(
        torch.equal(torch.as_tensor(one[name]).nan_to_num(7.25), value)
        for name, value in (
            (name, torch.as_tensor(value).nan_to_num(7.25)) for name, value in other.items()
        )
    )
