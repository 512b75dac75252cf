"""The quick vision transformer of the Eureka study: the engine against ordinary loops over seeds.

Both sides train the study's softmax arm and compose the same batches with the task's own sampler,
drawing included in both. The ordinary loop is what one would write by hand: one `nn.Module` per
seed, fused QKV, `scaled_dot_product_attention`, fused AdamW with the arm's groups and schedule. On
the CPU one of one thread or one of all threads, whichever is faster, is the best single loop, and
as many one-thread loops as the engine has workers are shown beside it; a GPU has one process of
each. All contenders take turns in the same run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saltus.bench.engine import Team, mean_gap, rate
from saltus.bench.matrix import Side, pace
from saltus.bench.one_thread import in_one_thread
from saltus.experiment import Experiment
from saltus.models.normalisers import Softmax
from saltus.models.vit import VisionTransformer, cut
from saltus.random import Draws
from saltus.studies.eureka.recipe import recipe
from saltus.tasks.images.speed import BATCHES, images_per_second
from saltus.tasks.images.two_step import TwoStepImage
from saltus.training.launch import keep_freed_memory
from saltus.training.optimizers import AdamW
from saltus.training.plan import cores, plan

LOOP, ENGINE = "loop", "engine"
COMPOSED = 100_000  # images of 3 x 16 x 16 that one core is to compose in a second
LAUNCHES = 10  # steps of a GPU between two looks at the clock, for each look waits for it


class Setting(NamedTuple):
    """So many seeds of the arm on one device."""

    device: str
    members: int

    @property
    def experiment(self) -> Experiment:
        """The study's arm."""
        changes = {"engine.device": self.device, "seeds": list(range(self.members))}
        return recipe("quick")["softmax"].override(changes)

    @property
    def workers(self) -> int:
        """Processes of the engine: one per core, one for a GPU."""
        return cores() if self.device == "cpu" else 1


def settings() -> list[Setting]:
    """What can be measured on this machine."""
    return [Setting("cpu", 8), *([Setting("cuda", 32)] if torch.cuda.is_available() else [])]


def measure_all(
    rounds: int, seconds: float, told: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Every setting, then how fast images are composed; `told` hears each result as it comes."""
    results = []
    for setting in settings():
        results.append(compare(setting, rounds, seconds))
        told(results[-1])
    results.append(in_one_thread(composition, seconds))
    told(results[-1])
    return results


def compare(setting: Setting, rounds: int, seconds: float) -> dict[str, Any]:
    """Median rates of all contenders, ratios, and the shares of a step of one chunk."""
    chunk, workers = in_one_thread(planned_chunk, setting), setting.workers
    contenders = {"loop, 1 thread": (1, LOOP, setting, 1, 1)}
    if setting.device == "cpu":
        contenders[f"loop, {workers} threads"] = (1, LOOP, setting, 1, workers)
        contenders[f"{workers} loops"] = (workers, LOOP, setting, 1, 1)
    contenders["engine, 1 worker"] = (1, ENGINE, setting, chunk, 1)
    if workers > 1:
        contenders[f"engine, {workers} workers"] = (workers, ENGINE, setting, chunk, 1)
    teams = {name: Team(*contender, contender=process) for name, contender in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in teams}
    for _ in range(rounds):
        for name, team in teams.items():
            samples[name].append(team.rate(seconds))
    for team in teams.values():
        team.stop()
    rates = {name: median(values) for name, values in samples.items()}
    whole = list(rates)[-1]  # the engine as it runs
    best = max(value for name, value in rates.items() if name.startswith(LOOP))
    return {
        "setting": setting._asdict(),
        "chunk": chunk,
        "batch": setting.experiment.batch,
        "seed_steps_per_second": rates,
        "least": {name: min(values) for name, values in samples.items()},
        "most": {name: max(values) for name, values in samples.items()},
        "ratio": rates[whole] / best,
        "ratio_same_processes": rates[whole] / rates.get(f"{workers} loops", best),
        "ratio_one_core": rates["engine, 1 worker"] / rates["loop, 1 thread"],
        "shares": in_one_thread(shares, setting, chunk, rounds),
    }


def planned_chunk(setting: Setting) -> int:
    """Members that the engine trains together, as it plans them for the arm."""
    return len(plan(setting.experiment).shards[0])


def process(pipe: Any, side: str, setting: Setting, chunk: int, threads: int) -> None:
    """A contender in a process of its own that runs for as long as it is told, when told."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    if side == ENGINE:
        keep_freed_memory()  # as every worker of the engine does
    contender = Side(setting.experiment, chunk) if side == ENGINE else Loop(setting.experiment)
    steps = 1 if setting.device == "cpu" else LAUNCHES
    several = partial(_run, contender.step, steps, setting.device)
    for _ in range(3):
        several()
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        pipe.send(rate(several, chunk * steps, seconds))


def _run(step: Callable[[], None], times: int, device: str) -> None:
    pace(step, times, device)


def shares(setting: Setting, chunk: int, rounds: int) -> dict[str, Any]:
    """What drawing takes of a step of one chunk, and what each instrument adds to it at its cadence
    in the arm. Each is read alone; those that share a forward pass cost less together."""
    experiment, device = setting.experiment, setting.device
    side = Side(experiment, chunk)
    side.step()

    def spent(work: Callable[[], None], times: int) -> float:
        return median(pace(work, times, device) for _ in range(rounds))

    whole = spent(side.step, 10)
    found = {"drawing": spent(side.draw, 10) / whole, "instruments": {}}
    for instrument in experiment.instruments:
        one = Side(experiment.model_copy(update={"instruments": (instrument,)}), chunk)
        one.ensemble.differentiate(0)
        one.evaluate()
        gap = mean_gap(instrument.cadence, experiment.steps)
        name = getattr(instrument, "label", None) or instrument.kind
        found["instruments"][name] = spent(one.evaluate, 1) / gap / whole
    return found


def composition(seconds: float) -> dict[str, Any]:
    """Images of 3 x 16 x 16 composed per second of one core, [batch, rate] for some batches."""
    sizes = (recipe("quick")["softmax"].batch, *BATCHES)
    rates = [[size, images_per_second(TwoStepImage(), size, seconds)] for size in sizes]
    return {"images_per_second": rates, "target": COMPOSED}


class OrdinaryBlock(nn.Module):
    """A pre-norm block as one writes it by hand."""

    def __init__(self, config: VisionTransformer) -> None:
        super().__init__()
        self.heads, width = config.heads, config.width
        hidden = config.hidden or 2 * width
        self.attention_norm = nn.LayerNorm(width, config.epsilon)
        self.mlp_norm = nn.LayerNorm(width, config.epsilon)
        self.qkv, self.output = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value)
        x = x + self.output(heads.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class OrdinaryVit(nn.Module):
    """The same architecture as `VisionTransformer` on this task, for one model."""

    def __init__(self, config: VisionTransformer, task: TwoStepImage) -> None:
        super().__init__()
        assert config.pooling == "class-token" and config.position_table == "learned"
        assert config.activation == "gelu" and isinstance(config.attention, Softmax)
        assert not config.differs_in_training and task.interface.image is not None
        self.sides, width = config.patch_sides, config.width
        rows, columns = config.patches(task.interface)
        self.patch = nn.Linear(task.interface.image[0] * self.sides[0] * self.sides[1], width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Embedding(rows * columns + 1, width)
        self.blocks = nn.Sequential(*(OrdinaryBlock(config) for _ in range(config.depth)))
        self.final_norm = nn.LayerNorm(width, config.epsilon)
        self.readout = nn.Linear(width, task.interface.outputs)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch(cut(images, self.sides))
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        x = self.blocks(tokens + self.position.weight)
        return self.readout(self.final_norm(x[:, :1]))


class Loop:
    """The hand-written loop of one seed."""

    def __init__(self, experiment: Experiment, seed: int = 0) -> None:
        task, config, rule = experiment.task, experiment.model, experiment.optimizer
        assert isinstance(task, TwoStepImage) and isinstance(config, VisionTransformer)
        assert isinstance(rule, AdamW) and rule.clip is None
        self.experiment, self.seed, self.task = experiment, seed, task
        self.device, self.dtype = experiment.engine.device, experiment.engine.dtype
        self.module = OrdinaryVit(config, task).to(self.device, self.dtype)
        own = dict(self.module.named_parameters())
        # The names above are of the same parameter groups as ours, so the arm's groups apply.
        self.shares = rule.shares({name: tuple(value.shape) for name, value in own.items()})
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [own[name] for name in share.names],
                    "weight_decay": share.rule.weight_decay,
                }
                for share in self.shares
            ],
            lr=rule.learning_rate,
            betas=rule.betas,
            eps=rule.epsilon,
            fused=True,
        )
        self.number = 0

    def step(self) -> None:
        """Draw, differentiate, update."""
        self.number = (self.number + 1) % self.experiment.steps
        self.differentiate(self.number)
        self.update(self.number)

    def differentiate(self, step: int) -> Tensor:
        """The loss of the batch of a step, its gradients filled in."""
        draws = Draws(self.seed, "data", step, self.device, self.dtype)
        batch = self.task.sample(draws, self.experiment.batch)
        loss = self.task.loss(self.module(batch["inputs"]), batch).mean()
        self.optimizer.zero_grad()
        loss.backward()
        return loss.detach()

    def update(self, step: int) -> None:
        """One step of AdamW at the schedule's rate."""
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = share.rule.rate(step, self.experiment.steps)
        self.optimizer.step()


def show(result: dict[str, Any]) -> None:
    """One setting, or the rate of composition, as a few lines."""
    if "images_per_second" in result:
        _show_composition(result["images_per_second"], result["target"])
        return
    setting, rates = result["setting"], result["seed_steps_per_second"]
    print(
        f"\nquick vision transformer, {setting['device']}: {setting['members']} seeds, "
        f"batch {result['batch']}, chunks of {result['chunk']} members"
    )
    for name, value in rates.items():
        least, most = result["least"][name], result["most"][name]
        print(f"  {name:<20} {value:10.1f} seed-steps/s ({least:.1f} to {most:.1f} over rounds)")
    print(
        f"  engine over best single loop {result['ratio']:.2f}; "
        f"over as many loop processes {result['ratio_same_processes']:.2f}; "
        f"one core against one {result['ratio_one_core']:.2f}"
    )
    drawing, costs = result["shares"]["drawing"], result["shares"]["instruments"]
    print(f"  share of the step: drawing {drawing:.2%}, the arm's instruments", end=" ")
    print(f"{sum(costs.values()):.2%}, each read alone:")
    for name, cost in costs.items():
        print(f"    {name:<28} {cost:7.2%}", flush=True)


def _show_composition(rates: Sequence[Sequence[float]], target: float) -> None:
    print(f"\nimages of 3 x 16 x 16 composed on one core (target {target:,.0f} a second)")
    for batch, found in rates:
        print(f"  batches of {batch:4}   {found:9,.0f} a second", flush=True)
