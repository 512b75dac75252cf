"""A film shows one member on the same samples throughout, as it was at each step."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments.component_switching import ComponentSwitching
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.grid_attention import GridAttention
from saltus.instruments.norms import Norms
from saltus.runs import Run
from saltus.training.ensemble import Ensemble
from saltus.training.film import film
from saltus.training.launch import start
from saltus.training.revisit import experiment_of, revisit
from training.leaping import STEPS, leaping


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its second member leaps at 90, and from step 100 on attention is biased."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        return start(
            leaping(
                interventions=[{"kind": "attention-bias", "factor": 3.0, "start": 100}],
                checkpoints={"every": 40, "microscope": {"frames": 16}},
            ),
            tmp_path_factory.mktemp("film"),
        )


def test_every_frame_is_read_on_the_same_samples_with_the_interventions_of_its_step(
    run: Run,
) -> None:
    steps, values = film(run, 1, [Evaluation()])["evaluation/loss"]
    assert set(steps) == {*run.frames(1), *run.checkpoints()}
    assert 80 in steps and max(run.frames(1)) > 100
    experiment = experiment_of(run)
    ensemble = Ensemble([experiment.members()[1]])
    batch = ensemble.draw("evaluation", STEPS, experiment.evaluation_batch)
    for step, value in zip(steps.tolist(), values, strict=True):
        if step in run.frames(1):
            state = run.frame(1, step)
        else:
            state = {name: each[1] for name, each in run.checkpoint(step).items()}
        parameters = {name: torch.from_numpy(each)[None] for name, each in state.items()}
        with torch.no_grad():
            outputs = ensemble.lifted(parameters, batch["inputs"], ensemble.tape(step))
            expected = experiment.task.loss(outputs, batch).mean()
        assert value == pytest.approx(float(expected), rel=1e-6), step


def test_its_last_picture_is_what_revisiting_the_run_shows(run: Run) -> None:
    instruments = [Evaluation(), Norms(), GradientNorms()]
    shown, seen = film(run, 0, instruments, [STEPS]), revisit(run, instruments, STEPS)
    assert shown.keys() == seen.keys()
    for name, (steps, values) in shown.items():
        assert steps.tolist() == [STEPS]
        assert np.array_equal(values[0], seen[name][0], equal_nan=True), name


def test_a_part_of_a_film_is_that_part_of_the_whole(run: Run) -> None:
    whole = film(run, 1, [Evaluation(), GradientNorms()])
    some = run.frames(1)[3:6]
    for name, (steps, values) in film(run, 1, [Evaluation(), GradientNorms()], some[::-1]).items():
        assert steps.tolist() == some
        places = np.searchsorted(whole[name][0], some)
        assert np.array_equal(values, whole[name][1][places]), name


def test_what_cannot_be_filmed_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    for arguments, message in [
        ((1, [Norms()], [7]), "steps: 7 is not allowed for member 1: 0, 40, "),
        ((2, [Norms()]), "member 2 is not allowed: 0 to 1"),
        ((0, [GridAttention()]), "instrument grid-attention: "),
        ((0, [ComponentSwitching()]), "mixes two checkpoints"),
    ]:
        with pytest.raises(SaltusError, match=message) as caught:
            film(run, *arguments)
        assert "\n" not in str(caught.value)
