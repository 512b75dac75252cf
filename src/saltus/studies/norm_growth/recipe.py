"""The experiments: language models under both presets, optimisers and schedules, languages, a grid.

`authors` in the name of an arm is the released code: a mask that leaves masked scores at 0, and the
loss that counts one target too many. All other arms are corrected: a mask of -infinity, and every
sentence's own targets. `branch-out` is what the paper calls pre-norm; `input` is what others do,
`input-final` with the LayerNorm before the readout that others have too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from saltus.experiment import Checkpoints, Experiment
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
LONG, SHORT, BRIEF = 800, 500, 300
WARMUP, STOP = 100, 100  # of the decaying schedules
AUTHORS: Mapping[str, Any] = {"model.mask": "multiplicative", "task.loss_mask": "authors"}
# Where √t is looked for: optimisers at a constant rate, and schedules of AdamW.
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"kind": "adam", "learning_rate": SLOW},
    "sgd": {"kind": "sgd", "learning_rate": 0.5},
    "norm-sgd": {"kind": "norm-sgd", "learning_rate": 0.1},
    "adafactor": {"kind": "adafactor", "schedule": {"shape": "inverse-sqrt", "warmup": WARMUP}},
}
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "sqrt-after": {"shape": "inverse-sqrt", "stop": STOP},
    "linear-after": {"shape": "linear", "stop": STOP, "final": 0.1},
}
DECAY = {"shape": "inverse-sqrt", "warmup": WARMUP}
LANGUAGES = {
    "a-n-b-n": ANBN(length=40), "dyck": Dyck(length=40), "majority": Majority(length=40),
}  # fmt: skip
GRID: Mapping[Scale, tuple[float, ...]] = {
    "quick": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "paper": tuple(10 ** (-1 - 4 * place / 19) for place in range(20)),
}
CHANGED = (
    "depth 4, heads 4, width 64 and MLP 48 for 12, 12, 768 and 512; sentences of Python's help, up "
    "to 40 tokens and 1,000 words, for Penn Treebank and WikiText-2; "
    f"{BRIEF} to {LONG} steps of 16 sentences for 5 epochs. AdamW at the paper's {SLOW:g} and at "
    f"{FAST:g}: a narrow model moves too little at the paper's rate to saturate in so few steps "
    "(section 9.25 of our spec). Formal languages have 2 blocks. The grid of learning rate and "
    "weight decay has 5 x 5 cells for 20 x 20, one block, width 32 and 200 words"
)


def recipe(scale: Scale) -> dict[str, Experiment]:
    """Arms by name; seeds count from 0 in each."""
    base = paper() if scale == "paper" else quick()
    short, brief = (base.steps,) * 2 if scale == "paper" else (SHORT, BRIEF)
    fast = {"optimizer.learning_rate": FAST} if scale == "quick" else {}
    post, slow = {"model.norm": "post"}, {"steps": short}
    # The released code counts what heads do on padding (section 9.22 of our spec).
    like_authors = reading(*CADENCE[scale], "included")
    authors = {**AUTHORS, "instruments": data(like_authors)}
    arms = {
        "adamw": base,
        "decay": arm(base, "decay", {"optimizer.learning_rate": FAST, "optimizer.schedule": DECAY}),
        "fast": arm(base, "fast", fast | slow),
        "fast-authors": arm(base, "fast-authors", fast | slow | authors),
        "post": arm(base, "post", slow | post),
        "post-authors": arm(base, "post-authors", slow | post | authors),
        "post-fast": arm(base, "post-fast", fast | slow | post),
        "post-fast-authors": arm(base, "post-fast-authors", fast | slow | post | authors),
        "input": arm(base, "input", fast | slow | {"model.norm": "pre"}),
        "input-final": arm(
            base, "input-final", fast | slow | {"model.norm": "pre", "model.final_norm": True}
        ),
    }
    growth = {"instruments": data(norms(base)), "steps": brief, "checkpoints": {}}
    for name, optimizer in OPTIMIZERS.items():
        arms[name] = arm(base, name, growth | {"optimizer": dict(optimizer)})
    for name, schedule in SCHEDULES.items():
        arms[name] = arm(base, name, growth | {"optimizer.schedule": dict(schedule)})
    for name, task in LANGUAGES.items():
        changes = {"task": task.model_dump(mode="json"), "model.depth": 2, "checkpoints": {}}
        arms[name] = arm(base, name, fast | slow | changes)
    return arms | {"grid": grid(base, scale)}


def quick() -> Experiment:
    """A small language model that two cores train in half a minute."""
    return Experiment(
        name="norm-growth-quick-adamw",
        study="norm-growth",
        arm="adamw",
        scale="quick",
        task=Sentences(length=40, vocabulary=1000),
        model=LanguageModel(depth=4, heads=4, width=64, hidden=48),
        optimizer=AdamW(learning_rate=SLOW, weight_decay=0.01),
        instruments=reading(*CADENCE["quick"]),
        steps=LONG,
        batch=16,
        evaluation_batch=64,
        seeds=tuple(range(4)),
        checkpoints=Checkpoints(at=pairs(LONG)),
    )


def paper() -> Experiment:
    """The paper's model and training; its corpora are not to be had without a download, so the
    sentences are those of Python's help here too (another source: docs/norm-growth.md)."""
    task = Sentences(length=83, vocabulary=10_000, sampler="epochs")
    steps = 5 * task.epoch_steps(16)
    return Experiment(
        name="norm-growth-paper-adamw",
        study="norm-growth",
        arm="adamw",
        scale="paper",
        task=task,
        model=LanguageModel(),
        optimizer=AdamW(learning_rate=SLOW, weight_decay=0.01),
        instruments=reading(*CADENCE["paper"]),
        steps=steps,
        batch=16,
        evaluation_batch=50,
        seeds=tuple(range(4)),
        checkpoints=Checkpoints(at=pairs(steps)),
    )


def reading(often: int, seldom: int, padding: Padding = "excluded") -> tuple[AnyInstrument, ...]:
    """Norms and the step that follows them; loss, saturation and heads now and then."""
    some, last = Cadence(every=seldom), Cadence(at=())
    return (
        NormPolicies(cadence=Cadence(every=often)),
        NormDynamics(cadence=Cadence(every=2 * often)),
        Evaluation(cadence=some),
        Saturation(cadence=some, modes=("scale", "zeta")),
        HeadTypes(cadence=last, modes=("scale", "zeta"), padding=padding),
        SaturatedAccuracy(cadence=last),
    )


def norms(base: Experiment) -> tuple[AnyInstrument, ...]:
    """What is read of the arms that are only about growth."""
    return base.instruments[:3]


def pairs(steps: int) -> tuple[int, ...]:
    """Steps at which parameters are kept, two by two: at the start, at the end, and in between."""
    starts = (0, 100, 225, 475, 775)
    kept = {step + after for step in starts for after in (0, SPACING)}
    return tuple(sorted(step for step in kept if step <= steps))


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
        "vary": vary, "seeds": 2 if scale == "quick" else 1, "checkpoints": {},
        "task.sampler": "epochs",
        "instruments": data((NormPolicies(cadence=Cadence(at=())),)),
    }  # fmt: skip
    if scale == "quick":
        changes |= {"model.depth": 1, "model.width": 32, "model.hidden": 24, "task.vocabulary": 200}
    task = Sentences.model_validate(base.task.model_dump() | {"sampler": "epochs"})
    return arm(base, "grid", changes | {"steps": task.epoch_steps(base.batch)})
