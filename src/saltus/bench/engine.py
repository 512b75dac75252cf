"""What the engine gains over the best ordinary loop, and what instruments cost.

Both sides train the same decoder on the same kind of batches in the same run, in turns, so that a
machine that slows down slows both. The ordinary loop is what one would write by hand: one
`nn.Module` per seed, fused QKV, `scaled_dot_product_attention`, fused AdamW, one process with one
or two threads, whichever is faster; two such processes side by side are shown too. The engine runs
its chunks in as many one-thread workers as there are cores.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from saltus import kernels
from saltus.experiment import Experiment
from saltus.instruments import Cadence
from saltus.instruments.base import Instrument
from saltus.random import Draws
from saltus.tasks.sequence import SequenceTask
from saltus.training.ensemble import Ensemble
from saltus.training.launch import keep_freed_memory
from saltus.training.plan import comfortable_chunk, cores, single
from saltus.training.readings import measure

VOCABULARY, HEADS = 64, 4


@dataclass(frozen=True)
class Regime:
    """One size of problem; `target` is the ratio to reach over the best single loop."""

    name: str
    width: int
    depth: int
    tokens: int
    batch: int
    members: int
    target: float


REGIMES = (
    Regime("tiny", 32, 2, 8, 8, 128, 8.0),
    Regime("small", 64, 2, 32, 16, 32, 1.3),
    Regime("medium", 128, 4, 49, 64, 8, 1.15),
)


class RandomTokens(SequenceTask):
    """Uniform tokens: nothing to learn, and nothing to wait for."""

    kind: Literal["random-tokens"] = "random-tokens"
    tokens: int = 8

    @property
    def vocabulary(self) -> int:
        return VOCABULARY

    @property
    def prompt_length(self) -> int:
        return 1

    @property
    def answer_length(self) -> int:
        return self.tokens

    def sequences(self, draws: Draws, batch: int) -> torch.Tensor:
        return draws.integers(0, VOCABULARY, batch, self.tokens + 1)


def experiment(regime: Regime, compile: bool = False) -> Experiment:
    """The regime as the engine sees it."""
    return Experiment.of(
        {
            "task": {"kind": "random-tokens", "tokens": regime.tokens},
            "model": {
                "kind": "decoder",
                "width": regime.width,
                "depth": regime.depth,
                "heads": HEADS,
                "activation": "gelu",
            },
            "optimizer": {"kind": "adamw", "learning_rate": 1e-3},
            "steps": 1,
            "batch": regime.batch,
            "evaluation_batch": regime.batch,
            "seeds": regime.members,
            "engine": {"compile": compile},
        }
    )


class OrdinaryBlock(nn.Module):
    """A pre-norm block as one writes it by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        parts = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, HEADS, width // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(heads.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class OrdinaryDecoder(nn.Module):
    """The same architecture as `Decoder`, for one model."""

    def __init__(self, regime: Regime) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, regime.width)
        self.position = nn.Parameter(torch.zeros(regime.tokens, regime.width))
        self.blocks = nn.Sequential(*(OrdinaryBlock(regime.width) for _ in range(regime.depth)))
        self.norm = nn.LayerNorm(regime.width)
        self.readout = nn.Linear(regime.width, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.norm(self.blocks(self.token(tokens) + self.position)))


def ordinary_step(regime: Regime, compile: bool) -> Callable[[], None]:
    """One step of the hand-written loop."""
    module = OrdinaryDecoder(regime)
    forward = torch.compile(module, dynamic=False) if compile else module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        tokens = torch.randint(VOCABULARY, (regime.batch, regime.tokens + 1))
        logits = forward(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def engine_step(regime: Regime, chunk: int, compile: bool) -> Callable[[], None]:
    """One step of one chunk of the engine: draw, differentiate, check, update."""
    ensemble = Ensemble(experiment(regime, compile).members()[:chunk])
    counter = iter(range(10**9))

    def step() -> None:
        number = next(counter)
        ensemble.retire(ensemble.differentiate(number), number)
        ensemble.update(0)

    return step


def rate(step: Callable[[], None], seeds: int, seconds: float) -> float:
    """Seed-steps per second over about `seconds`."""
    begin, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        step()
        count += 1
    return count * seeds / spent


def contender(side: str, regime: Regime, chunk: int, threads: int, compile: bool) -> Any:
    """(step, seeds per step), warmed up."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    if side == "engine":
        keep_freed_memory()  # as every worker of the engine does
    make = (
        engine_step(regime, chunk, compile) if side == "engine" else ordinary_step(regime, compile)
    )
    for _ in range(3):
        make()
    return make, chunk if side == "engine" else 1


def process(pipe: Any, side: str, regime: Regime, chunk: int, threads: int, compile: bool) -> None:
    """A contender in a process of its own that runs for as long as it is told, when told."""
    step, seeds = contender(side, regime, chunk, threads, compile)
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        pipe.send(rate(step, seeds, seconds))


class Team:
    """Some equal contenders that run at the same time; their rates add up."""

    def __init__(
        self, count: int, *setting: Any, contender: Callable[..., None] | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(count):
            mine, theirs = context.Pipe()
            run = contender or process
            worker = context.Process(target=run, args=(theirs, *setting), daemon=True)
            worker.start()
            self.pipes.append(mine)
            self.processes.append(worker)
        for pipe in self.pipes:
            pipe.recv()

    def rate(self, seconds: float) -> float:
        for pipe in self.pipes:
            pipe.send(seconds)
        return sum(pipe.recv() for pipe in self.pipes)

    def stop(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for worker in self.processes:
            worker.join()


def compare(regime: Regime, rounds: int, seconds: float, compile: bool) -> dict[str, Any]:
    """Median rates of all contenders, measured in turns."""
    workers = cores()
    fair = -(-regime.members // workers)
    chunk = min(comfortable_chunk(single(experiment(regime))), fair)
    teams = {
        "loop, 1 thread": Team(1, "loop", regime, 1, 1, compile),
        f"loop, {workers} threads": Team(1, "loop", regime, 1, workers, compile),
        f"{workers} loops": Team(workers, "loop", regime, 1, 1, compile),
        "engine, 1 worker": Team(1, "engine", regime, chunk, 1, compile),
        f"engine, {workers} workers": Team(workers, "engine", regime, chunk, 1, compile),
    }
    samples: dict[str, list[float]] = {name: [] for name in teams}
    for _ in range(rounds):
        for name, team in teams.items():
            samples[name].append(team.rate(seconds))
    for team in teams.values():
        team.stop()
    rates = {name: median(values) for name, values in samples.items()}
    best = max(rates["loop, 1 thread"], rates[f"loop, {workers} threads"])
    return {
        "regime": regime.name,
        "compile": compile,
        "chunk": chunk,
        "products": kernels.describe(),
        "seed_steps_per_second": rates,
        "ratio": rates[f"engine, {workers} workers"] / best,
        "ratio_same_processes": rates[f"engine, {workers} workers"] / rates[f"{workers} loops"],
        "ratio_one_core": rates["engine, 1 worker"] / rates["loop, 1 thread"],
        "target": regime.target,
    }


DEFAULT = ("evaluation", "norms", "gradient-norms", "attention-entropy")
ALL = (*DEFAULT, "hidden-cosine", "repetition", "gradient-balance", "attention-map")


def instrument_cost(regime: Regime, kinds: tuple[str, ...]) -> float:
    """Share of the step time that instruments cost at their default cadence, each read alone.

    Reading them together shares a forward pass, so this is an upper bound.
    """
    torch.set_num_threads(1)
    chunk = min(comfortable_chunk(single(experiment(regime))), regime.members)
    ensemble = Ensemble(experiment(regime).members()[:chunk])
    step = engine_step(regime, chunk, compile=False)
    base = 1 / rate(step, 1, 1.0)
    share = 0.0
    for kind in kinds:
        instrument = Instrument.parse(kind)
        ensemble.differentiate(0)
        measure(ensemble, [instrument], 0)

        def read(one: Instrument = instrument) -> None:
            measure(ensemble, [one], 0)

        share += 1 / rate(read, 1, 0.3) / base / mean_gap(instrument.cadence)
    return share


def mean_gap(cadence: Cadence, steps: int = 10_000) -> float:
    """Average steps between readings over a training of `steps` steps."""
    return steps / sum(cadence.due(step, steps) for step in range(steps + 1))


def compare_all(
    regimes: Sequence[Regime],
    rounds: int,
    seconds: float,
    compiled: bool,
    told: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Every regime, eager and then compiled if asked; `told` hears each result as it comes."""
    results = []
    for regime in regimes:
        for compile in (False, True) if compiled else (False,):
            # A round of medium steps must be long enough to hold several of them.
            long = seconds * (3 if regime.name == "medium" else 1)
            results.append(compare(regime, rounds, long, compile))
            told(results[-1])
    return results


def instrument_costs(regimes: Sequence[Regime]) -> list[dict[str, Any]]:
    """What the default instruments and all of them cost, by regime."""
    return [
        {"regime": r.name, "default": instrument_cost(r, DEFAULT), "all": instrument_cost(r, ALL)}
        for r in regimes
    ]


def show(result: dict[str, Any]) -> None:
    """One comparison as a few lines."""
    mode = "compiled" if result["compile"] else "eager"
    how = f"chunks of {result['chunk']} members, products by {result['products']}"
    print(f"\n{result['regime']}, {mode}: {how}", flush=True)
    for name, value in result["seed_steps_per_second"].items():
        print(f"  {name:<20} {value:10.1f} seed-steps/s")
    print(
        f"  engine over best single loop {result['ratio']:.2f} (target {result['target']:g}); "
        f"over as many loop processes {result['ratio_same_processes']:.2f}; "
        f"one core against one {result['ratio_one_core']:.2f}",
        flush=True,
    )


def show_costs(costs: Sequence[dict[str, Any]]) -> None:
    """The cost of instruments as a few lines."""
    print("\ninstruments at their default cadence, share of step time (targets 2 % and 10 %)")
    for cost in costs:
        print(f"  {cost['regime']:<8} default {cost['default']:6.2%}   all {cost['all']:6.2%}")
