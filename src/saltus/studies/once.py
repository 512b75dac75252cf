"""Training an experiment once: what searches for settings do with each of theirs."""

from __future__ import annotations

from pathlib import Path

from saltus.experiment import Experiment
from saltus.runs import Run, list_runs
from saltus.training.launch import start


def trained(experiment: Experiment, root: Path) -> Run:
    """A finished run of exactly this experiment, trained now if there is none."""
    for run in list_runs(root):
        if run.experiment_yaml == experiment.to_yaml() and run.status["state"] == "done":
            return run
    return start(experiment, root)
