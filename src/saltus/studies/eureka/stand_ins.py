"""Stand-ins for the paper's language modelling and in-context learning, of which no setting is
established (section 3.5 of our spec): tasks of our own, and text, each with three ways to attend.

Learning rates are the same for all three; at quick scale there is the first task alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saltus.experiment import Experiment
from saltus.instruments import AnyInstrument, Cadence
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.attention_received import AttentionReceived
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.qkv_gradients import QkvGradients
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.studies.study import Scale
from saltus.tasks.base import Task
from saltus.tasks.icl_labels import IclLabels
from saltus.tasks.icl_regression import IclRegression
from saltus.tasks.text import CausalText, MaskedText
from saltus.tasks.two_step_mlm import TwoStepMlm
from saltus.training.optimizers import AdamW
from saltus.training.schedules import Schedule

LENGTH, FAST = 16, 2e-3  # positions of the first task, where a remedy helps; its learning rate


def stand_ins(scale: Scale, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Experiment]:
    """`mlm-softmax`, ...: every stand-in of a scale under every method."""
    bases = {"mlm": two_step_mlm(scale)}
    if scale == "paper":
        bases |= in_context() | text()
    return {
        f"{name}-{method}": base.override(
            {"name": f"eureka-{scale}-{name}-{method}", "arm": f"{name}-{method}", **changes}
        )
        for name, base in bases.items()
        for method, changes in methods.items()
    }


def two_step_mlm(scale: Scale) -> Experiment:
    """Cues decide which payload fills the slot; the same at both scales but for its seeds."""
    return experiment(
        scale,
        TwoStepMlm(length=LENGTH),
        Encoder(depth=2, heads=4, width=64, norm="pre", initial_deviation=0.04),
        (
            Evaluation(cadence=Cadence(every=50), generate=False),
            QkvGradients(cadence=Cadence(every=50)),
            AttentionEntropy(cadence=Cadence(every=200), normalised=True),
            AttentionReceived(cadence=Cadence(every=200), samples=128),
        ),
        steps=800 if scale == "paper" else 550,
        seeds=20 if scale == "paper" else 8,
    )


def in_context() -> dict[str, Experiment]:
    """Labels need a large start: from a small one they stay at their plateau for long."""
    read = (Evaluation(cadence=Cadence(every=50), generate=False),)
    labels = IclLabels(pairs=4, items=16, label_alphabet=4)
    finding = Decoder(depth=2, heads=1, width=64, initial_deviation=0.15)
    fitting = Decoder(depth=2, heads=4, width=64, initial_deviation=0.04)
    return {
        "icl-labels": experiment("paper", labels, finding, read, steps=1500, seeds=6),
        "icl-regression": experiment(
            "paper", IclRegression(dimensions=4, pairs=8), fitting, read, steps=2000, seeds=6
        ),
    }


def text() -> dict[str, Experiment]:
    """The text that comes with Python, masked as for RoBERTa, and left to right as for GPT."""
    read = (Evaluation(cadence=Cadence(every=50), generate=False, samples=128),)
    size = {"depth": 2, "heads": 4, "width": 64, "initial_deviation": 0.04}
    masked, causal = Encoder(norm="pre", **size), Decoder(**size)
    return {
        "masked-text": experiment("paper", MaskedText(length=32), masked, read, 2000, 4),
        "causal-text": experiment("paper", CausalText(length=32), causal, read, 2000, 4),
    }


def experiment(
    scale: Scale,
    task: Task,
    model: Encoder | Decoder,
    instruments: tuple[AnyInstrument, ...],
    steps: int,
    seeds: int,
) -> Experiment:
    """A stand-in with the optimiser that all have in common."""
    return Experiment(
        name="stand-in",
        study="eureka",
        arm="stand-in",
        scale=scale,
        task=task,
        model=model,
        optimizer=AdamW(learning_rate=FAST, weight_decay=0.05, schedule=Schedule(warmup=100)),
        instruments=instruments,
        steps=steps,
        batch=64,
        evaluation_batch=256,
        seeds=tuple(range(seeds)),
    )
