"""The paper's other tasks, models, optimisers and starts, each an arm beside the baseline."""

from __future__ import annotations

from pathlib import Path

from saltus.experiment import Experiment
from saltus.instruments import AnyInstrument, Cadence
from saltus.instruments.answer_statistics import AnswerStatistics
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.attention_progress import AttentionProgress
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.hidden_cosine import HiddenCosine
from saltus.instruments.mlp_probe import MlpProbe
from saltus.instruments.repetition import Repetition
from saltus.interventions.attention_bias import AttentionBias
from saltus.interventions.freeze import Freeze
from saltus.interventions.transplant import Transplant
from saltus.models.normalisers import Softmax
from saltus.studies.study import Scale
from saltus.tasks.addition import Addition
from saltus.tasks.base import Task
from saltus.tasks.concatenated_sums import ConcatenatedSums
from saltus.tasks.copying import Copy, Reverse
from saltus.tasks.histogram import Histogram
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.permutation import Permutation
from saltus.tasks.prefix_sum import PrefixSum
from saltus.tasks.repeat import Repeat
from saltus.training.muon import Muon
from saltus.training.optimizers import Adam, Sgd
from saltus.training.schedules import Schedule

# Of the tasks with several answers that claim 30 is about, and the paper's depth and steps.
TASKS: dict[str, tuple[Task, int, int]] = {
    "prefix-sum": (PrefixSum(), 1, 1000),
    "addition": (Addition(), 1, 10000),
    "permutation": (Permutation(), 2, 2000),
    "histogram": (Histogram(), 2, 5000),
    "copy": (Copy(), 1, 100),
    "reverse": (Reverse(), 1, 100),
    "repeat-1": (Repeat(blocks=1), 1, 200),
    "repeat-2": (Repeat(blocks=2), 1, 200),
    "repeat-4": (Repeat(blocks=4), 1, 200),
    "concat": (ConcatenatedSums(), 1, 5000),
    "window-3": (MovingWindowSum(window=3), 1, 2000),
}
# Steps and seeds of the quick scale: to the drop on prefix sums, into the plateau elsewhere.
QUICK = {
    "prefix-sum": (440, 5),
    "addition": (240, 5),
    "permutation": (140, 4),
    "histogram": (140, 4),
}
SOFTMAX_STEPS: dict[Scale, int] = {"quick": 120, "paper": 2000}
# What the paper copies from a converged model and keeps (section 7.4 of our spec).
STARTS = {
    "keys-and-queries": ("attention.qk", "embeddings", "norm.attention"),
    "whole-attention": ("attention", "embeddings", "norm.attention"),
    "mlp": ("mlp", "norm.mlp", "norm.final", "readout"),
    "embeddings": ("embeddings", "norm.final", "readout"),
}


def variants(base: Experiment, scale: Scale) -> dict[str, Experiment]:
    """The arms of a scale by name."""
    every = 20 if scale == "quick" else 10
    if scale == "quick":
        often = {"prefix-sum": 2 * every}
        tasks = {name: with_task(base, name, *QUICK[name], often.get(name, every))
                 for name in QUICK}  # fmt: skip
        return {**tasks, "softmax": softmax(base, SOFTMAX_STEPS[scale], every, 5)}
    seeds = len(base.seeds)
    tasks = {name: with_task(base, name, steps, seeds, every)
             for name, (_, _, steps) in TASKS.items()}  # fmt: skip
    return {
        **tasks,
        "softmax": softmax(base, SOFTMAX_STEPS[scale], every, seeds),
        **optimisers(base),
        **starts(base),
        **{
            f"bias-10-from-{start}": variant(base, f"bias-10-from-{start}", {
                "interventions": (AttentionBias(factor=10.0, start=start),)})
            for start in (25, 50, 75, 100)
        },
        "bias-0.5": variant(base, "bias-0.5", {
            "interventions": (AttentionBias(factor=0.5),), "steps": 2000}),
        "bias-2.5": variant(base, "bias-2.5", {"interventions": (AttentionBias(factor=2.5),)}),
        "probe": variant(base, "probe", {"instruments": (
            *base.instruments, MlpProbe(cadence=Cadence(every=10)))}),
    }  # fmt: skip


def with_task(base: Experiment, name: str, steps: int, seeds: int, every: int) -> Experiment:
    """The baseline's recipe on another task, with the depth that the paper gives it."""
    task, depth, _ = TASKS[name]
    # The released model's position tables have one row more than is used.
    rows = task.interface.positions + 1
    model = base.model.model_copy(update={"depth": depth, "positions": rows})
    clip = 1.0 if name == "histogram" else None
    return variant(base, name, {
        "task": task,
        "model": model,
        "optimizer": base.optimizer.model_copy(update={"clip": clip}),
        "steps": steps,
        "seeds": tuple(range(seeds)),
        "instruments": instruments(task, every),
    })  # fmt: skip


def softmax(base: Experiment, steps: int, every: int, seeds: int) -> Experiment:
    """The twin with softmax attention (figure 30)."""
    return variant(base, "softmax", {
        "model": base.model.model_copy(update={"attention": Softmax()}),
        "steps": steps,
        "seeds": tuple(range(seeds)),
        "instruments": instruments(base.task, every),
    })  # fmt: skip


def optimisers(base: Experiment) -> dict[str, Experiment]:
    """Muon, SGD and schedules (figures 31 to 36). SGD's rate is not established: ours."""
    adam = Adam(learning_rate=1e-4)
    loud = base.model.model_copy(update={"initial_deviation": 0.2})  # the paper's "scale 10"
    return {
        "muon": variant(base, "muon", {
            "optimizer": Muon(learning_rate=0.02, others=adam), "model": loud}),
        "sgd": variant(base, "sgd", {
            "optimizer": Sgd(learning_rate=0.1, momentum=0.9), "steps": 5000}),
        "warmup-cosine": variant(base, "warmup-cosine", {
            "optimizer": adam.model_copy(
                update={"schedule": Schedule(shape="cosine", warmup=200)})}),
        "warmup": variant(base, "warmup", {
            "optimizer": adam.model_copy(update={"schedule": Schedule(warmup=200)})}),
    }  # fmt: skip


def starts(base: Experiment) -> dict[str, Experiment]:
    """Optimal initialisation (figure 5), and groups frozen where they start."""
    source = Path("arm:baseline@last")
    found = {
        f"start-{name}": variant(base, f"start-{name}", {"interventions": (
            Transplant(source=source, groups=groups, freeze=True, member="next seed"),)})
        for name, groups in STARTS.items()
    }  # fmt: skip
    frozen = {"interventions": (Freeze(groups=("mlp",)),), "steps": 2000}
    return {**found, "frozen-mlp": variant(base, "frozen-mlp", frozen)}


def variant(base: Experiment, arm: str, changes: dict[str, object]) -> Experiment:
    """The baseline with changes, under its own name."""
    name = base.name.replace("baseline", arm)
    return base.model_copy(update={"name": name, "arm": arm, **changes})


def instruments(task: Task, every: int) -> tuple[AnyInstrument, ...]:
    """What the claims read of any task."""
    cadence = Cadence(every=every)
    progress = (AttentionProgress(cadence=cadence),) if task.attended() is not None else ()
    return (
        Evaluation(cadence=cadence),
        HiddenCosine(cadence=cadence),
        Repetition(cadence=cadence),
        AnswerStatistics(cadence=cadence),
        AttentionMap(cadence=Cadence(every=5 * every)),
        *progress,
    )
