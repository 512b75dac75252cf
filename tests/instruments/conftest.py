"""Readings to test instruments on: five real models as a stack, and one model at a time."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch.func import functional_call, vmap

from saltus.instruments import Instrument, Reading
from saltus.models import Tape, initial_parameters
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum

TASK = MovingWindowSum(length=6, window=2, alphabet=6, modulus=7)
MEMBERS, BATCH, SAMPLES = 5, 7, 4


@pytest.fixture(scope="session")
def task() -> MovingWindowSum:
    return TASK


@pytest.fixture(scope="session")
def stacked() -> Callable[..., dict[str, Any]]:
    """Everything a Reading holds besides its task, for five members, [members, ...].

    Biases and norms are moved off their start, so that no group is zero by accident.
    """

    @cache
    def make(attention="softmax", depth=2, heads=2, dtype=torch.float32) -> dict[str, Any]:
        model = Decoder(depth=depth, heads=heads, width=12, attention=attention, initial_scale=8)
        module = model.build(TASK.interface)
        starts = [initial_parameters(model, module, seed, dtype=dtype) for seed in range(MEMBERS)]
        generator = torch.Generator().manual_seed(1)
        parameters = {}
        for name in starts[0]:
            start = torch.stack([one[name] for one in starts])
            noise = torch.randn(start.shape, generator=generator, dtype=dtype)
            parameters[name] = (start + 0.1 * noise).requires_grad_()
        batch = TASK.sample(Draws(list(range(MEMBERS)), "evaluation", 3), BATCH)
        tape = Tape(capture=["*"])
        outputs = functional_call(module, parameters, (batch["inputs"], tape))
        losses = TASK.loss(outputs, batch)
        single = [
            torch.autograd.grad(losses[:, i].sum(), list(parameters.values()), retain_graph=True)
            for i in range(BATCH)
        ]
        samples = {
            name: torch.stack(found, dim=1)
            for name, found in zip(parameters, zip(*single, strict=True), strict=True)
        }
        whole = torch.autograd.grad(losses.mean(1).sum(), list(parameters.values()))
        with torch.no_grad():
            written = TASK.generate(lambda x: functional_call(module, parameters, (x,)), batch)
        return {
            "parameters": {name: value.detach() for name, value in parameters.items()},
            "batch": dict(batch),
            "outputs": outputs.detach(),
            "losses": losses.detach(),
            "sites": {name: value.detach() for name, value in tape.values.items()},
            "gradients": dict(zip(parameters, whole, strict=True)),
            "generated": written,
            "sample_gradients": samples,
        }

    return make


@pytest.fixture(scope="session")
def one(stacked) -> Callable[..., Reading]:
    """The reading of one member."""

    def make(member: int = 0, **choices: Any) -> Reading:
        return Reading(task=TASK, **members(stacked(**choices), member))

    return make


@pytest.fixture(scope="session")
def of_sites(task) -> Callable[..., Reading]:
    """A reading of hand-made sites."""

    def make(task: Task = task, **sites: torch.Tensor) -> Reading:
        named = {name.replace("__", "."): value for name, value in sites.items()}
        return Reading(task=task, parameters={}, sites=named)

    return make


@pytest.fixture(scope="session")
def mapped() -> Callable[..., dict[str, torch.Tensor]]:
    """`read` as the engine runs it: mapped over some members of a stack."""

    def run(instrument: Instrument, stack: dict[str, Any], which: Any = slice(None)):
        def read(own: dict[str, Any]) -> dict[str, torch.Tensor]:
            return instrument.read(Reading(task=TASK, **own))

        return vmap(read)(members(stack, which))

    return run


def members(stack: dict[str, Any], which: Any) -> dict[str, Any]:
    """The rows of some members, or with an int the values of one."""
    return {
        name: {key: part[which] for key, part in value.items()}
        if isinstance(value, dict)
        else value[which]
        for name, value in stack.items()
    }
