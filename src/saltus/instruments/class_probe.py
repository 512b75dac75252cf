"""Class probe: what a linear map can tell of a whole sample, head by head (2310.12956)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt
from torch import Tensor

from saltus.errors import FieldProblem, unknown
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.probe_training import Recipe, train
from saltus.instruments.probed_states import Samples, Scaling, States, Tokens, gathered, scale
from saltus.random import Draws
from saltus.tasks.base import Task

Representation = Literal["z", "query", "key", "value", "output", "residual"]
# Where each representation lies in a block.
SITES: dict[str, str] = {
    "z": "attention.heads",
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "output": "attention.output",
    "residual": "residual.post",
}


class SampleProbe(Instrument):
    """What `class-probe` and `code-length` have in common: which states are probed for what, and
    how probes are trained.

    The model is frozen and runs as in evaluation. In every layer there is one probe per head on
    each of `z` (the head's output before the output projection), `query`, `key` and `value`, and
    one on each of `output` (of the attention, before it is added) and `residual` (the residual
    stream behind the block). It takes the states of all tokens side by side (tokens x width
    features), of the `class` token alone, which is the first, or of the `answer`, the last.
    `residual_input` adds to z the head's share of the residual stream before the block.

    A probe is a linear map with a bias, or an MLP of one layer of `hidden` ReLU units, to the
    classes of a target (`Task.labels`), fitted by AdamW at a constant rate to cross-entropy with
    label smoothing; see `probe_training.train`.

    `scaling` says what is done to features first, by numbers of the training samples: `feature`
    subtracts each feature's mean and divides by its standard deviation, `whole` subtracts the means
    and divides all features of a probe by one number, so that their mean variance is 1, `none`
    leaves them as they are. What a linear map can tell is the same with all three; what AdamW finds
    in so many steps is not, for its steps are as large for small features as for large ones.
    """

    stacked: ClassVar[bool] = True
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    representations: tuple[Representation, ...] = Field(default=("z", "output"), min_length=1)
    layers: tuple[NonNegativeInt, ...] | None = Field(
        default=None, min_length=1, description="all if not given"
    )
    tokens: Tokens = "all"
    residual_input: bool = False
    hidden: int = Field(default=0, ge=0, description="0: a linear probe")
    steps: int = Field(default=120, ge=1, description="of training")
    batch: int = Field(default=64, ge=1, description="samples per step")
    learning_rate: float = Field(default=1e-2, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    scaling: Scaling = "feature"
    seed: int = Field(default=0, ge=0, description="of the samples and the order they are shown in")
    cadence: AnyCadence = Cadence(at=())  # trains many probes: at the first and last step

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            hidden=self.hidden,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            label_smoothing=self.label_smoothing,
            seed=self.seed,
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """Patterns of the sites that are probed."""
        blocks = ["*"] if self.layers is None else self.layers
        return tuple(
            f"blocks.{block}.{SITES[each]}" for block in blocks for each in self.representations
        )

    def check(self, task: Task) -> None:
        offered = task.label_classes()
        if not offered:
            raise ValueError(f"task {task.kind} tells no classes of whole samples apart")
        for name in self.targets or ():
            if name not in offered:
                raise FieldProblem("targets", unknown("target", name, offered))

    def classes(self, task: Task) -> dict[str, int]:
        """The targets, those with equally many classes side by side."""
        offered = task.label_classes()
        chosen = {name: offered[name] for name in self.targets or offered}
        return dict(sorted(chosen.items(), key=lambda each: each[1]))

    def states(self, reading: Reading, samples: Samples, members: int | None) -> dict[int, States]:
        """What is probed, on some samples, by number of features."""
        return gathered(reading, samples, self.sites, self.tokens, self.residual_input, members)


class ClassProbe(SampleProbe):
    """How often a probe of a frozen model's states is right on held-out samples (2310.12956;
    section 8 of our spec, claim C19).

    `class-probe/<site>/<target>/<tokens>/accuracy` [head], or a scalar where the site has no heads,
    in [0, 1]; and `.../accuracy-top2`, where the target has more than two classes. The site is
    `blocks.0.attention.heads` for z. A member that diverged has NaN.

    Probes are trained on `train` samples of the task, which are the same for all members and steps,
    a function of `seed`, and tested on an evaluation batch of `test` samples: a task that keeps
    images for validation is tested on those. Number of steps, batch, rate and sizes are the
    project's choice; the paper's are not established.
    """

    kind: Literal["class-probe"] = "class-probe"
    train: int = Field(default=2048, ge=1, description="samples")
    test: int = Field(default=512, ge=1, description="samples")

    def needs(self, task: Task) -> Needs:
        return Needs(samples=self.test)

    def check(self, task: Task) -> None:
        super().check(task)
        task.check_examples(self.train)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        task, classes = reading.task, self.classes(reading.task)
        held_out = Samples.of(task, reading.batch)
        members = held_out.members
        like = next(iter(reading.parameters.values()))
        draws = Draws(self.seed, "probe/samples", 0, like.device, like.dtype)
        shown = Samples.of(task, task.sample(draws, self.train))
        learnt, tested = (self.states(reading, each, members) for each in (shown, held_out))
        results: dict[str, Tensor] = {}
        for width, states in learnt.items():
            scale(states, tested[width], self.scaling)
            labels = [shown.truth(name, members) for name in classes]
            probes = train(states.features, labels, list(classes.values()), self.recipe)
            said = probes.logits(tested[width].features)
            for name, logits in zip(classes, said, strict=True):
                right = accuracies(logits, held_out.truth(name, members))
                for site, place in states.places.items():
                    for what, values in right.items():
                        where = f"class-probe/{site}/{name}/{self.tokens}/{what}"
                        results[where] = place.of(values if members else values[0])
        return results


def accuracies(
    logits: Float[Tensor, "member probe sample class"], truth: Int[Tensor, "member sample"]
) -> dict[str, Float[Tensor, "member probe"]]:
    """The fraction of samples whose class has the highest logit, or one of the two highest; NaN
    where a logit is not finite."""
    finite = logits.isfinite().all(-1).all(-1)
    truth = truth.unsqueeze(1)
    first = logits.argmax(-1)
    hits = {"accuracy": first == truth}
    if logits.shape[-1] > 2:
        others = logits.scatter(-1, first.unsqueeze(-1), -torch.inf)
        hits["accuracy-top2"] = hits["accuracy"] | (others.argmax(-1) == truth)
    return {
        what: each.to(logits.dtype).mean(-1).where(finite, torch.nan) for what, each in hits.items()
    }
