"""The page on language tasks: its code runs, its experiments train, its table is complete."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from saltus.experiment import Experiment
from saltus.tasks import Task
from saltus.training.ensemble import Ensemble

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "language-tasks.md").read_text("utf-8")
WRITTEN = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
LESS = {"steps": 1, "batch": 4, "evaluation_batch": 4, "seeds": 1, "model.width": 8}


def test_the_python_of_the_page_runs():
    for source in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(source, "language-tasks.md", "exec"), {})  # it asserts what it claims


@pytest.mark.parametrize("index", range(len(WRITTEN)))
def test_the_experiments_of_the_page_train(index):
    experiment = Experiment.from_yaml(WRITTEN[index])
    ensemble = Ensemble(experiment.override(LESS).members())
    assert torch.isfinite(ensemble.differentiate(0)).all()


def test_the_table_names_tasks_and_models_that_can_take_them():
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for kind, models in rows:
        task = Task.parse(kind)
        for model in re.findall(r"`([a-z]+)`", models):
            Experiment.of({"task": task, "model": model, "steps": 1, "batch": 1})


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in PAGE.split("\n") if not line.startswith("|")) <= 100


def test_an_evaluation_on_all_validation_sentences():
    (inline,) = re.findall(r"`(\{kind: evaluation, .*?\}\})`", PAGE, re.DOTALL)
    fields = yaml.safe_load(inline)
    data = yaml.safe_load(WRITTEN[-1]) | {"instruments": [fields]}
    own = Experiment.of(data).instruments[0].task
    assert len(own.tables.parts[own.part].words) in (436, len(own.tables.parts["validation"].words))
    assert (own.part, own.sampler) == ("validation", "in-order")
