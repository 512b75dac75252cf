"""Matrix completion against an ordinary loop: the quick setting on the CPU, the paper's on a GPU.

Both sides train the same BERT on the same sampler's matrices in one process, in turns. The
ordinary loop is what one would write by hand: one `nn.Module`, PyTorch's own layers, fused QKV,
`scaled_dot_product_attention`, fused Adam. It trains one seed; several cost it as many times more.

On the CPU one thread runs and its own time is measured, so that other programs on the machine
count less; on a GPU the clock on the wall, read when the device has finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saltus.bench.engine import mean_gap
from saltus.bench.one_thread import in_one_thread
from saltus.experiment import Experiment
from saltus.models.encoder import Encoder
from saltus.random import Draws
from saltus.studies.matrix_completion.recipe import recipe
from saltus.studies.study import Scale
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure

MEMBERS = (1, 3)
STEPS = 50_000  # of the paper's training, for projections
SHARE = 0.05  # of a step that drawing and metrics may cost together
LOOP = "ordinary loop"


class Setting(NamedTuple):
    """One arm of the study on one device in one precision."""

    scale: Scale
    arm: str
    device: str
    precision: str

    @property
    def experiment(self) -> Experiment:
        """The arm with its first evaluation as its only instrument."""
        whole = recipe(self.scale)[self.arm]
        return whole.override(
            {"engine.device": self.device, "engine.precision": self.precision}
        ).model_copy(update={"instruments": whole.instruments[:1]})


def settings() -> list[Setting]:
    """What can be measured on this machine."""
    found = [Setting("quick", "leap", "cpu", "float32")]
    if torch.cuda.is_available():
        found += [Setting("paper", "base", "cuda", how) for how in ("float32", "tf32", "bfloat16")]
    return found


def measure_all(
    rounds: int, seconds: float, told: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Every setting in a process of its own; `told` hears each result as it comes."""
    results = []
    for setting in settings():
        results.append(in_one_thread(compare, setting, rounds, seconds))
        told(results[-1])
    return results


def compare(setting: Setting, rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of everything that is timed, its median over rounds, and ratios within rounds.

    `seconds` is about how long each contender runs in a round.
    """
    experiment = setting.experiment
    loop, parameters = ordinary_step(experiment)
    contenders: dict[str, Callable[[], None]] = {LOOP: loop}
    for members in MEMBERS:
        side = Side(experiment, members)
        if side.parameters != parameters:
            raise AssertionError(f"{side.parameters} parameters against {parameters} of the loop")
        contenders |= {
            _engine(members): side.step,
            f"draw, {members}": side.draw,
            f"evaluation, {members}": side.evaluate,
        }
    counts = {name: _fitting(work, setting.device, seconds) for name, work in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            samples[name].append(1e3 * pace(work, counts[name], setting.device))
    gap = mean_gap(experiment.instruments[0].cadence, experiment.steps)
    return {
        "setting": setting._asdict(),
        "parameters": parameters,
        "batch": experiment.batch,
        "cells": experiment.task.interface.positions,
        "milliseconds": {name: median(values) for name, values in samples.items()},
        "engine": [_against_the_loop(samples, members, gap) for members in MEMBERS],
        "evaluation_every": gap,
        "target": SHARE,
    }


def _against_the_loop(samples: dict[str, list[float]], members: int, gap: float) -> dict[str, Any]:
    """Of each round: the loop's time over the engine's per member, and shares of the step."""
    steps = samples[_engine(members)]
    ratios = [loop * members / step for loop, step in zip(samples[LOOP], steps, strict=True)]
    drawing = [own / step for own, step in zip(samples[f"draw, {members}"], steps, strict=True)]
    reading = [
        own / gap / step for own, step in zip(samples[f"evaluation, {members}"], steps, strict=True)
    ]
    return {
        "members": members,
        "ratio": median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "draw_share": median(drawing),
        "evaluation_share": median(reading),
    }


class Side:
    """The engine with some members, and the parts of its step that are timed alone."""

    def __init__(self, experiment: Experiment, members: int) -> None:
        self.ensemble, self.number = Ensemble(experiment.members()[:members]), 0
        self.steps = experiment.steps
        self.parameters = sum(leaf[0].numel() for leaf in self.ensemble.leaves)

    def step(self) -> None:
        """Draw, differentiate, check, update."""
        number = self.number = (self.number + 1) % self.steps
        self.ensemble.retire(self.ensemble.differentiate(number), number)
        self.ensemble.update(number)

    def draw(self) -> None:
        """Sample and tokenise a training batch of every member."""
        self.ensemble.training_batch(self.number)

    def evaluate(self) -> None:
        """Draw the evaluation batch, run the model on it, compute loss and metrics."""
        measure(self.ensemble, self.ensemble.experiment.instruments, self.number)


class OrdinaryBlock(nn.Module):
    """A post-norm block as one writes it by hand."""

    def __init__(self, width: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.attention_norm = nn.LayerNorm(width, epsilon)
        self.mlp_norm = nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        batch, cells, width = x.shape
        parts = self.qkv(x).view(batch, cells, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value)
        x = self.attention_norm(x + self.output(heads.transpose(1, 2).reshape(x.shape)))
        return self.mlp_norm(x + self.down(F.gelu(self.up(x))))


class OrdinaryBert(nn.Module):
    """The same architecture as `Encoder` on this task, for one model."""

    def __init__(self, config: Encoder, task: MatrixCompletion) -> None:
        super().__init__()
        width, interface = config.width, task.interface
        self.token = nn.Embedding(interface.vocabulary, width, padding_idx=config.silent_token)
        self.position = nn.Embedding(config.positions or interface.positions, width)
        self.norm = nn.LayerNorm(width, config.epsilon)
        self.blocks = nn.Sequential(
            *(OrdinaryBlock(width, config.heads, config.epsilon) for _ in range(config.depth))
        )
        self.readout = nn.Linear(width, interface.outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.position.weight[: tokens.shape[-1]]
        return self.readout(self.blocks(self.norm(self.token(tokens) + places)))


def ordinary_step(experiment: Experiment) -> tuple[Callable[[], None], int]:
    """One step of the hand-written loop, and how many parameters it trains."""
    task, config, engine = experiment.task, experiment.model, experiment.engine
    assert isinstance(task, MatrixCompletion) and isinstance(config, Encoder)
    if engine.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    module = OrdinaryBert(config, task).to(engine.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    lower = engine.precision == "bfloat16"
    number = iter(range(10**9))

    def step() -> None:
        batch = task.sample(Draws(0, "data", next(number), engine.device), experiment.batch)
        with torch.autocast(engine.device, torch.bfloat16, enabled=lower):
            outputs = module(batch["inputs"])
        loss = task.loss(outputs.float(), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in module.parameters())


def pace(work: Callable[[], None], times: int, device: str) -> float:
    """Seconds that one call takes, over so many of them."""
    begin = _clock(device)
    for _ in range(times):
        work()
    return (_clock(device) - begin) / times


def _clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _fitting(work: Callable[[], None], device: str, seconds: float) -> int:
    """How many calls take about so long, found after three to warm up."""
    for _ in range(3):
        work()
    return max(1, round(seconds / pace(work, 3, device)))


def _engine(members: int) -> str:
    return f"engine, {members} member{'s' if members > 1 else ''}"


def show(result: dict[str, Any]) -> None:
    """One setting as a few lines."""
    setting, spent = result["setting"], result["milliseconds"]
    clock = "one thread's time" if setting["device"] == "cpu" else "time on the wall"
    print(
        f"\nmatrix completion, {setting['scale']} setting, {setting['device']}, "
        f"{setting['precision']}: {result['parameters']:,} parameters, batch {result['batch']} of "
        f"{result['cells']} cells, {clock}"
    )
    _row(LOOP, spent[LOOP])
    for found in result["engine"]:
        members = found["members"]
        name = _engine(members)
        _row(name, spent[name] / members)
        drawing, reading = found["draw_share"], found["evaluation_share"]
        print(
            f"    loop over engine {found['ratio']:.2f} "
            f"({found['ratio_least']:.2f} to {found['ratio_most']:.2f} over rounds)\n"
            f"    share of the step: drawing and tokenising {drawing:.2%}, evaluation every "
            f"{result['evaluation_every']:.0f} steps {reading:.2%}; together "
            f"{drawing + reading:.2%} (target {result['target']:.0%})",
            flush=True,
        )


def _row(name: str, milliseconds: float) -> None:
    hours = milliseconds * STEPS / 3.6e6
    print(
        f"  {name:<18} {milliseconds:9.2f} ms per step and member, "
        f"{hours:7.2f} h for {STEPS:,} steps of one",
        flush=True,
    )
