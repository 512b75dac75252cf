"""The experiments: language models under both presets, optimisers and schedules, languages, a grid.

`authors` in the name of an arm is the released code: a mask that leaves masked scores at 0, and the
loss that counts one target too many. All other arms are corrected: a mask of -infinity, and every
sentence's own targets. `branch-out` is what the paper calls pre-norm; `input` is what others do,
`input-final` with the LayerNorm before the readout that others have too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from saltus.experiment import Experiment
from saltus.instruments import AnyInstrument, Cadence
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.head_types import HeadTypes
from saltus.instruments.norm_dynamics import NormDynamics
from saltus.instruments.norm_policies import NormPolicies
from saltus.instruments.saturated_accuracy import SaturatedAccuracy
from saltus.instruments.saturation import Saturation
from saltus.models.language_model import LanguageModel
from saltus.studies.study import Scale
from saltus.tasks.formal import ANBN, Dyck, Majority
from saltus.tasks.text.sentences import Sentences
from saltus.training.optimizers import AdamW

Padding = Literal["excluded", "included"]
FAST, SLOW = 1e-2, 1e-3  # learning rates; the paper's is the slow one
SPACING = 25  # steps between two checkpoints that are compared
CADENCE: Mapping[Scale, tuple[int, int]] = {"quick": (25, 100), "paper": (50, 250)}
LONG, SHORT = 900, 350
LATE, BRIEF = 1600, 400  # 1/√t shows late; what is only compared needs less
WARMUP, STOP = 100, 100  # of the decaying schedules
DECAY = {"shape": "inverse-sqrt", "warmup": WARMUP}
AUTHORS: Mapping[str, Any] = {"model.mask": "multiplicative", "task.loss_mask": "authors"}
# Where √t is looked for: optimisers at a constant rate (but Adafactor, which T5 had with 1/√t),
# and schedules of AdamW.
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"kind": "adam", "learning_rate": SLOW},
    "sgd": {"kind": "sgd", "learning_rate": 0.05},
    "norm-sgd": {"kind": "norm-sgd", "learning_rate": 0.1},
    "adafactor": {"kind": "adafactor", "schedule": DECAY},
}
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "sqrt-after": {"shape": "inverse-sqrt", "stop": STOP},
    "linear-after": {"shape": "linear", "stop": STOP, "final": 0.1},
}
# Lengths at which members stack bit for bit (`training/isolation.py`).
LANGUAGES = {
    "a-n-b-n": ANBN(length=25), "dyck": Dyck(length=25), "majority": Majority(length=25),
}  # fmt: skip
GRID: Mapping[Scale, tuple[float, ...]] = {
    "quick": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "paper": tuple(10 ** (-1 - 4 * place / 19) for place in range(20)),
}
CHANGED = (
    "depth 4, heads 4, width 64 and MLP 48 for 12, 12, 768 and 512; sentences of Python's help, up "
    f"to 20 tokens and 500 words, for Penn Treebank and WikiText-2; {SHORT} steps of 16 "
    f"sentences for 5 epochs, at the paper's {SLOW:g} and at {FAST:g}: a narrow model moves too "
    "little at the paper's rate to saturate in so few steps (section 9.25 of our spec). Laws of "
    f"growth and directions: {BRIEF} to {LATE} steps, 2 blocks; formal languages: 2 blocks. The "
    "grid of learning rate and weight decay has 5 x 5 cells for 20 x 20, one block, width 32 and "
    "200 words"
)


def recipe(scale: Scale) -> dict[str, Experiment]:
    """Arms by name; seeds count from 0 in each."""
    base = paper() if scale == "paper" else quick()
    return {
        **growing(base, scale), **saturating(base, scale), **languages(base, scale),
        "grid": grid(base, scale),
    }  # fmt: skip


def growing(base: Experiment, scale: Scale) -> dict[str, Experiment]:
    """By which law the norm grows, and where the direction goes: the paper's pre-norm."""
    often, _ = CADENCE[scale]
    changes: dict[str, Any] = {
        "instruments": data((
            NormPolicies(cadence=Cadence(every=often)), NormDynamics(cadence=Cadence(every=50)),
            Evaluation(cadence=Cadence(every=250)),
        )),
        "checkpoints.at": list(pairs(base.steps)),
    }  # fmt: skip
    quick = scale == "quick"
    if quick:
        changes |= {"steps": LONG, "model.depth": 2}
        changes |= {"checkpoints.at": list(pairs(LONG))}
    long = arm(base, "adamw", changes)
    fast: dict[str, Any] = {"optimizer.learning_rate": FAST}
    late: dict[str, Any] = {"checkpoints": {}} | ({"steps": LATE} if quick else {})
    brief: dict[str, Any] = {"checkpoints": {}} | ({"steps": BRIEF} if quick else {})
    arms = {
        "adamw": long,
        "adamw-fast": arm(long, "adamw-fast", fast),
        "decay": arm(long, "decay", late | fast | {"optimizer.schedule": DECAY}),
        "post-long": arm(long, "post-long", {"model.norm": "post", **AUTHORS}),
    }
    for name, schedule in SCHEDULES.items():
        arms[name] = arm(long, name, brief | {"optimizer.schedule": dict(schedule)})
    for name, optimizer in OPTIMIZERS.items():
        arms[name] = arm(long, name, brief | {"optimizer": dict(optimizer)})
    return arms


def saturating(base: Experiment, scale: Scale) -> dict[str, Experiment]:
    """Placements of LayerNorm under both masks, at the paper's rate and at a faster one."""
    fast = {"optimizer.learning_rate": FAST} if scale == "quick" else {}
    post, pre = {"model.norm": "post"}, {"model.norm": "pre"}
    # The released code counts what heads do on padding (section 9.22 of our spec).
    like_authors = reading(CADENCE[scale][1], "included")
    authors = {**AUTHORS, "instruments": data(like_authors)}
    changes: dict[str, dict[str, Any]] = {
        "fast": fast,
        "fast-authors": fast | authors,
        "post": post,
        "post-authors": post | authors,
        "post-fast": fast | post,
        "post-fast-authors": fast | post | authors,
        "input": fast | pre,
        "input-final": fast | pre | {"model.final_norm": True},
    }
    return {name: arm(base, name, own) for name, own in changes.items()}


def languages(base: Experiment, scale: Scale) -> dict[str, Experiment]:
    """The same of formal languages."""
    changes: dict[str, Any] = {"model.depth": 2}
    if scale == "quick":
        changes |= {"optimizer.learning_rate": FAST}
    return {
        name: arm(base, name, changes | {"task": task.model_dump(mode="json")})
        for name, task in LANGUAGES.items()
    }


def quick() -> Experiment:
    """A small language model that two cores train in half a minute."""
    return Experiment(
        name="norm-growth-quick-fast",
        study="norm-growth",
        arm="fast",
        scale="quick",
        task=Sentences(length=20, vocabulary=500),
        model=LanguageModel(depth=4, heads=4, width=64, hidden=48),
        optimizer=AdamW(learning_rate=SLOW, weight_decay=0.01),
        instruments=reading(CADENCE["quick"][1]),
        steps=SHORT,
        batch=16,
        evaluation_batch=64,
        seeds=tuple(range(4)),
    )


def paper() -> Experiment:
    """The paper's model and training; its corpora are not to be had without a download, so the
    sentences are those of Python's help here too (another source: docs/norm-growth.md)."""
    task = Sentences(length=83, vocabulary=10_000, sampler="epochs")
    steps = 5 * task.epoch_steps(16)
    return Experiment(
        name="norm-growth-paper-fast",
        study="norm-growth",
        arm="fast",
        scale="paper",
        task=task,
        model=LanguageModel(),
        optimizer=AdamW(learning_rate=SLOW, weight_decay=0.01),
        instruments=reading(CADENCE["paper"][1]),
        steps=steps,
        batch=16,
        evaluation_batch=50,
        seeds=tuple(range(4)),
    )


def reading(seldom: int, padding: Padding = "excluded") -> tuple[AnyInstrument, ...]:
    """Norms, loss and saturation now and then; heads, and what they are needed for, at the end."""
    some, last = Cadence(every=seldom), Cadence(at=())
    return (
        NormPolicies(cadence=some),
        Evaluation(cadence=some),
        Saturation(cadence=some, modes=("scale", "zeta")),
        HeadTypes(cadence=last, modes=("scale", "zeta"), padding=padding),
        SaturatedAccuracy(cadence=last, samples=96),
    )


def pairs(steps: int) -> tuple[int, ...]:
    """Steps at which parameters are kept, two by two: at the start, at the end, and in between."""
    starts = (0, 100, 225, 475, 725, steps - SPACING)
    kept = {step + after for step in starts for after in (0, SPACING)}
    return tuple(sorted(step for step in kept if 0 <= step <= steps))


def arm(base: Experiment, name: str, changes: Mapping[str, Any]) -> Experiment:
    """The base under another name, with some fields changed."""
    return base.override({"name": f"norm-growth-{base.scale}-{name}", "arm": name, **changes})


def data(instruments: tuple[AnyInstrument, ...]) -> list[dict[str, Any]]:
    """Instruments as fields."""
    return [each.model_dump(mode="json") for each in instruments]


def grid(base: Experiment, scale: Scale) -> Experiment:
    """Figure 6: learning rate by weight decay over one epoch, all cells one ensemble."""
    values = list(GRID[scale])
    vary = {"optimizer.learning_rate": values, "optimizer.weight_decay": values}
    changes: dict[str, Any] = {
        "vary": vary, "seeds": 2, "checkpoints": {},
        "task.sampler": "epochs",
        "instruments": data((NormPolicies(cadence=Cadence(at=())),)),
    }  # fmt: skip
    if scale == "quick":
        changes |= {"model.depth": 1, "model.width": 32, "model.hidden": 24, "task.vocabulary": 200}
    task = Sentences.model_validate(base.task.model_dump() | {"sampler": "epochs"})
    return arm(base, "grid", changes | {"steps": task.epoch_steps(base.batch)})
