"""Readings to test instruments on: five real models as a stack, and one model at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch.func import functional_call, vmap

from saltus.instruments import Instrument, Reading
from saltus.models import Model, Tape, initial_parameters
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence

TASK = MovingWindowSum(length=6, window=2, alphabet=6, modulus=7)
MEMBERS, BATCH = 5, 7


@pytest.fixture(scope="session")
def task() -> MovingWindowSum:
    return TASK


class Stack(dict[str, Any]):
    """Everything a Reading holds besides its task and model, for five members, [members, ...].

    Biases and norms are moved off their start, so that no group is zero by accident.
    """

    def __init__(self, task: Task, model: Model, batch: dict[str, Any], dtype: torch.dtype) -> None:
        self.task, self.model, self.batch = task, model, batch
        module = model.build(task.interface)
        starts = [initial_parameters(model, module, seed, dtype=dtype) for seed in range(MEMBERS)]
        initial = {name: torch.stack([one[name] for one in starts]) for name in starts[0]}
        generator = torch.Generator().manual_seed(1)
        parameters = {}
        for name, start in initial.items():
            noise = torch.randn(start.shape, generator=generator, dtype=dtype)
            parameters[name] = (start + 0.1 * noise).requires_grad_()
        tape, first = Tape(capture=["*"]), Tape(capture=["*"])
        outputs = functional_call(module, parameters, (batch["inputs"], tape))
        functional_call(module, initial, (batch["inputs"], first))
        losses = task.loss(outputs, batch)
        single = [
            torch.autograd.grad(losses[:, i].sum(), list(parameters.values()), retain_graph=True)
            for i in range(losses.shape[1])
        ]
        samples = {
            name: torch.stack(found, dim=1)
            for name, found in zip(parameters, zip(*single, strict=True), strict=True)
        }
        whole = torch.autograd.grad(losses.mean(1).sum(), list(parameters.values()))
        super().__init__(
            parameters={name: value.detach() for name, value in parameters.items()},
            initial=initial,
            initial_sites=dict(first.values),
            batch=dict(batch),
            outputs=outputs.detach(),
            losses=losses.detach(),
            sites={name: value.detach() for name, value in tape.values.items()},
            gradients=dict(zip(parameters, whole, strict=True)),
            sample_gradients=samples,
        )
        with torch.no_grad():
            written = task.generate(lambda x: functional_call(module, parameters, (x,)), batch)
        if written is not None:
            self["generated"] = written

    def only(self, *names: str) -> Stack:
        """The same with nothing but these."""
        lean = copy.copy(self)
        for name in self.keys() - set(names):
            del lean[name]
        return lean

    def one(self, member: int = 0) -> Reading:
        """The reading of one member."""
        return Reading(task=self.task, model=self.model, **members(self, member))


@pytest.fixture(scope="session")
def stacked() -> Callable[..., Stack]:
    """Decoders that add."""

    @cache
    def make(attention="softmax", depth=2, heads=2, dtype=torch.float32, **fields) -> Stack:
        model = Decoder(
            depth=depth, heads=heads, width=12, attention=attention, initial_scale=8, **fields
        )
        batch = TASK.sample(Draws(list(range(MEMBERS)), "evaluation", 3), BATCH)
        return Stack(TASK, model, dict(batch), dtype)

    return make


@pytest.fixture(scope="session")
def words() -> Callable[..., Stack]:
    """Models of one attention layer that look for words, and attend far from uniformly."""

    @cache
    def make(dtype=torch.float64, **fields) -> Stack:
        task = WordCooccurrence(length=4, vocabulary=16)
        model = OneLayerAttention(width=16, neurons=8, kappa=3.0, **fields)
        batch = task.sample(Draws(list(range(MEMBERS)), "data", 0, dtype=dtype), 24)
        return Stack(task, model, dict(batch), dtype)

    return make


@pytest.fixture(scope="session")
def one(stacked) -> Callable[..., Reading]:
    """The reading of one decoder."""
    return lambda member=0, **choices: stacked(**choices).one(member)


@pytest.fixture(scope="session")
def of_sites(task) -> Callable[..., Reading]:
    """A reading of hand-made sites."""

    def make(task: Task = task, **sites: torch.Tensor) -> Reading:
        named = {name.replace("__", "."): value for name, value in sites.items()}
        return Reading(task=task, parameters={}, sites=named)

    return make


@pytest.fixture(scope="session")
def mapped() -> Callable[..., dict[str, torch.Tensor]]:
    """An instrument as the engine runs it: mapped over some members of a stack."""

    def run(instrument: Instrument, stack: Stack, which: Any = slice(None)):
        def read(own: dict[str, Any]) -> dict[str, torch.Tensor]:
            return look(instrument, Reading(task=stack.task, model=stack.model, **own))

        return vmap(read)(members(stack, which))

    return run


@pytest.fixture(scope="session", name="look")
def looking() -> Callable[[Instrument, Reading], dict[str, torch.Tensor]]:
    return look


def look(instrument: Instrument, reading: Reading) -> dict[str, torch.Tensor]:
    """Results and signals, as a run names them."""
    signals = instrument.events(reading)
    return instrument.read(reading) | {f"signal/{name}": value for name, value in signals.items()}


def members(stack: Stack, which: Any) -> dict[str, Any]:
    """The rows of some members, or with an int the values of one."""
    return {
        name: {key: part[which] for key, part in value.items()}
        if isinstance(value, dict)
        else value[which]
        for name, value in stack.items()
    }
