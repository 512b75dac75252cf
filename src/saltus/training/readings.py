"""Reading instruments: one shared forward pass, each `read` mapped over the members.

A reading is a pure function of (parameters, seed, step), on an evaluation batch of its own: it
never touches the training step, so instruments cannot change what is trained. The same function
runs inside training, afterwards on a checkpoint, and on a stranger's model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from saltus.errors import SaltusError
from saltus.instruments.base import Instrument, Needs, Reading
from saltus.tasks.base import Batch
from saltus.training.ensemble import Ensemble


def measure(ensemble: Ensemble, instruments: Sequence[Instrument], step: int) -> dict[str, Tensor]:
    """All results at a step, {name: [members, *shape]}.

    Instruments that need gradients read `ensemble.gradients`, the training gradient of this step:
    call `ensemble.differentiate(step)` first.
    """
    if not instruments:
        return {}
    needs = _union(instrument.needs(ensemble.task) for instrument in instruments)
    shared = observe(ensemble, needs, step)
    results: dict[str, Tensor] = {}
    with torch.no_grad():
        for instrument in instruments:
            found = _read(instrument, ensemble, shared)
            if twice := sorted(results.keys() & found.keys()):
                raise SaltusError(f"instruments: two of them give '{twice[0]}'; keep one")
            results.update(found)
    return results


def observe(ensemble: Ensemble, needs: Needs, step: int) -> dict[str, object]:
    """What the instruments asked for, stacked over members."""
    task, parameters = ensemble.task, ensemble.parameters
    shared: dict[str, object] = {"parameters": dict(parameters), "gradients": {}}
    if needs.gradients:
        shared["gradients"] = dict(ensemble.gradients)
    if not (needs.sites or needs.outputs or needs.generated or needs.sample_gradients):
        return shared
    batch = ensemble.draw("evaluation", step, ensemble.experiment.evaluation_batch)
    shared["batch"] = dict(batch)
    with torch.no_grad(), ensemble.autocast():
        if needs.sites or needs.outputs:
            tape = ensemble.tape(step, needs.sites)
            outputs = ensemble.lifted(parameters, batch["inputs"], tape).to(ensemble.dtype)
            shared |= {"outputs": outputs, "losses": task.loss(outputs, batch)}
            shared["sites"] = tape.values
        if needs.generated:
            tape = ensemble.tape(step)
            shared["generated"] = task.generate(
                lambda inputs: ensemble.lifted(parameters, inputs, tape),
                batch,
                causal=ensemble.experiment.model.is_causal,
            )
    if needs.sample_gradients:
        shared["sample_gradients"] = sample_gradients(ensemble, batch, step, needs.sample_gradients)
    return shared


def sample_gradients(
    ensemble: Ensemble, batch: Batch, step: int, samples: int
) -> dict[str, Tensor]:
    """Gradient of the loss of single samples, {parameter: [members, sample, *shape]}.

    Every (member, sample) pair becomes a member of a larger stack with a batch of one.
    """
    some = {name: value[:, :samples] for name, value in batch.items()}
    members, count = some["inputs"].shape[:2]
    pairs = {name: value.flatten(0, 1).unsqueeze(1) for name, value in some.items()}
    repeated = {
        name: value.detach().repeat_interleave(count, dim=0).requires_grad_()
        for name, value in ensemble.parameters.items()
    }
    outputs = ensemble.lifted(repeated, pairs["inputs"], ensemble.tape(step, repeat=count))
    losses = ensemble.task.loss(outputs.to(ensemble.dtype), pairs)
    found = torch.autograd.grad(losses.sum(), list(repeated.values()), materialize_grads=True)
    return {
        name: value.unflatten(0, (members, count))
        for name, value in zip(repeated, found, strict=True)
    }


def _read(
    instrument: Instrument, ensemble: Ensemble, shared: Mapping[str, object]
) -> dict[str, Tensor]:
    task = ensemble.task

    def read(own: dict[str, object]) -> dict[str, Tensor]:
        return instrument.read(Reading(task=task, **own))  # type: ignore[arg-type]

    return vmap(read)(dict(shared))


def _union(needs: Iterable[Needs]) -> Needs:
    every = list(needs)
    return Needs(
        sites=tuple(dict.fromkeys(site for need in every for site in need.sites)),
        outputs=any(need.outputs for need in every),
        gradients=any(need.gradients for need in every),
        generated=any(need.generated for need in every),
        sample_gradients=max(need.sample_gradients for need in every),
    )
