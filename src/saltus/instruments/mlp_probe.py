"""MLP probe: whether a small classifier can tell the answer from a state (2506.13688)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.instruments.evaluation import writes
from saltus.tasks.base import Task


class MlpProbe(Instrument):
    """Accuracy of an MLP from a site's state at each answer's position to the answer's token
    (2506.13688, figure 20; section 7.4 of our spec).

    The site is by default the output of the first attention, before it is added to the residual
    stream: what the MLP behind it has to work with. One hidden layer of `hidden` ReLU neurons,
    trained by scikit-learn with its defaults for at most `iterations` epochs, from `seed`.

    Gives `mlp-probe/<site>/accuracy/train` and `.../test`: the fraction of answer tokens that are
    right, in [0, 1]. A batch has train + test sequences; the last `test` are held out, whole
    sequences, so that no answer of a tested sequence was trained on. The paper's released code
    cuts a flat list of answers after the 1024th instead, which for 16 answers a sequence is after
    64 sequences, our default, but for other lengths can fall inside one.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["mlp-probe"] = "mlp-probe"
    sites: tuple[str, ...] = Field(default=("blocks.0.attention.output",), min_length=1)
    train: int = Field(default=64, ge=1, description="sequences")
    test: int = Field(default=1984, ge=1, description="sequences")
    hidden: int = Field(default=256, ge=1)
    iterations: int = Field(default=2000, ge=1, description="epochs at most")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the classifier's start and order")
    cadence: AnyCadence = Cadence(at=())  # trains a classifier: at the first and last step

    def needs(self, task: Task) -> Needs:
        return Needs(sites=self.sites, samples=self.train + self.test)

    def check(self, task: Task) -> None:
        if not writes(task) or task.output_rows() is None:
            raise ValueError(f"task {task.kind} has no answer tokens to tell from a state")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        inputs = reading.batch["inputs"]
        if inputs.shape[-2] <= self.test:
            raise SaltusError(
                f"mlp-probe.test: {self.test} of a batch of {inputs.shape[-2]} sequences is not "
                f"allowed; at most {inputs.shape[-2] - 1}"
            )
        tokens = reading.task.answer(reading.batch).cpu().numpy()  # type: ignore[attr-defined]
        rows = reading.task.output_rows()
        results = {}
        for site, values in captured(reading, self.sites).items():
            if values.shape[:-1] != inputs.shape:
                raise SaltusError(f"mlp-probe.sites: '{site}' is not one state per position")
            states = values[..., rows, :].float().cpu().numpy()
            single = states.ndim == 3
            members = [(states, tokens)] if single else list(zip(states, tokens, strict=True))
            found = torch.tensor([self._accuracies(*own) for own in members])
            for part, value in zip(("train", "test"), found.T.to(inputs.device), strict=True):
                results[f"mlp-probe/{site}/accuracy/{part}"] = value[0] if single else value
        return results

    def _accuracies(
        self,
        states: Float[ndarray, "sequence answer width"],
        tokens: Int[ndarray, "sequence answer"],
    ) -> tuple[float, float]:
        """On the training sequences and on those held out; NaN where a state is not finite."""
        if not np.isfinite(states).all():
            return np.nan, np.nan
        split = len(states) - self.test
        x, held_out = (part.reshape(-1, part.shape[-1]) for part in np.split(states, [split]))
        y, answers = (part.ravel() for part in np.split(tokens, [split]))
        probe = _fitted(x, y, self.hidden, self.iterations, self.seed)
        return float((probe(x) == y).mean()), float((probe(held_out) == answers).mean())


def _fitted(
    x: Float[ndarray, "row width"],
    y: Int[ndarray, " row"],
    hidden: int,
    iterations: int,
    seed: int,
) -> Callable[[ndarray], ndarray]:
    """What the classifier trained on some rows says of others."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        raise SaltusError("scikit-learn is not installed: pip install 'saltus[studies]'") from None
    probe = MLPClassifier((hidden,), max_iter=iterations, random_state=seed)
    with warnings.catch_warnings():
        # A probe that has not converged is as good as its accuracy says, and says no more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        trained = probe.fit(x, y)
    return lambda rows: np.asarray(trained.predict(rows))
