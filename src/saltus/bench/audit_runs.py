"""The trajectories on which the audit is tested: small models, trained by our own engine.

They differ in what shapes a path: optimiser, learning rate (to the edge of noise), schedule, task,
placement of the norms, fresh samples or a few that are learned by heart.
"""

from __future__ import annotations

from pathlib import Path

from saltus.experiment import Checkpoints, Engine, Experiment
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.runs import Run
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.launch import resume, start
from saltus.training.optimizers import Adam, AdamW, Optimizer, Sgd
from saltus.training.schedules import Schedule

CHECKPOINTS, EVERY = 24, 20
STEPS = (CHECKPOINTS - 1) * EVERY
COSINE = Schedule(shape="cosine", warmup=100)
LINEAR = Schedule(shape="linear", warmup=20, until=300)
ROOT = Schedule(shape="inverse-sqrt", warmup=50)

# Name -> optimiser, batch, size of the training set (None: fresh samples).
RECIPES: dict[str, tuple[Optimizer, int, int | None]] = {
    "adamw": (AdamW(learning_rate=1e-3), 32, None),
    "adamw-high": (AdamW(learning_rate=1e-2), 8, None),
    "adamw-warmup-cosine": (AdamW(learning_rate=3e-3, schedule=COSINE), 32, None),
    "adam-decayed-to-nothing": (Adam(learning_rate=3e-3, schedule=LINEAR), 32, None),
    "adam-inverse-sqrt": (Adam(learning_rate=1e-2, schedule=ROOT), 32, None),
    "sgd": (Sgd(learning_rate=0.1), 32, None),
    "sgd-momentum": (Sgd(learning_rate=0.05, momentum=0.9), 32, None),
    "sgd-noise": (Sgd(learning_rate=0.5), 2, None),
    "signum": (Sgd(learning_rate=1e-3, momentum=0.9, sign=True), 32, None),
    "by-heart": (AdamW(learning_rate=3e-3), 16, 16),
    "matrix": (Adam(learning_rate=1e-3), 16, None),
    "matrix-high": (Adam(learning_rate=1e-2), 16, None),
}


def train(recipe: str, seeds: range, folder: Path) -> Run:
    """The run of a recipe below `folder`, trained if it is not there yet."""
    if (folder / recipe).is_dir():
        return resume(folder / recipe)
    optimizer, batch, examples = RECIPES[recipe]
    matrix = recipe.startswith("matrix")
    checkpoints = Checkpoints(every=EVERY, rescue=STEPS)
    return start(
        Experiment(
            name=recipe,
            task=MatrixCompletion(rows=4, columns=4, rank=1)
            if matrix
            else MovingWindowSum(length=8),
            model=Encoder(depth=2, heads=2, width=32) if matrix else Decoder(depth=2, width=32),
            optimizer=optimizer,
            steps=STEPS,
            batch=batch,
            examples=examples,
            seeds=tuple(seeds),
            checkpoints=checkpoints,
            engine=Engine(workers=1),
        ),
        folder,
    )
