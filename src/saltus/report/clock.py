"""What stands below the curves of a run: training steps, or the moments of a gradient flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int, Real

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.report.figure import STEP
from saltus.runs import Run
from saltus.training.gradient_flow import GradientFlow

FAR = 100.0  # times that the last moment is later than the first: more want a logarithmic axis


@dataclass(frozen=True)
class Clock:
    """Names the x axis and places steps on it."""

    label: str = STEP
    log: bool = False
    moments: tuple[float, ...] = ()  # of step 0, 1, …; () where the steps themselves stand there

    def at(self, steps: Int[np.ndarray, " step"]) -> Real[np.ndarray, " step"]:
        """Where these steps stand."""
        return np.array(self.moments)[steps] if self.moments else steps


def clock_of(run: Run) -> Clock:
    """The clock of a run; training steps where its experiment cannot be rebuilt."""
    return _clock(run.experiment_yaml)


@lru_cache(maxsize=64)  # asked for every series of every run of a page
def _clock(experiment_yaml: str) -> Clock:
    try:
        experiment = Experiment.from_yaml(experiment_yaml)
    except SaltusError:
        return Clock()
    flow = experiment.optimizer
    if not isinstance(flow, GradientFlow):
        return Clock()
    moments = flow.times(experiment.steps)
    label = "time" if flow.clock == "time" else "time on the model's clock"
    return Clock(label, moments[-1] > FAR * moments[1], tuple(moments))
