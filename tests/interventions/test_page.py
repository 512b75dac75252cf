"""The page on interventions is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml

from saltus.experiment import Experiment
from saltus.interventions import Intervention
from saltus.models import select
from saltus.runs import open_run
from saltus.studies.donors import check_arms, donors
from tiny_experiments import tiny

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "interventions.md").read_text("utf-8")
ALONE, RECIPE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_training_one_component_trains_that_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(ALONE, "interventions.md", "exec"), {"__name__": "__main__"})
    baseline, alone = (open_run(f"runs/{name}").checkpoint() for name in ("baseline", "only-mlp"))
    for name, value in baseline.items():
        assert np.array_equal(alone[name], value) == (name not in select(baseline, ["mlp"])), name
    assert capsys.readouterr().out.startswith("baseline [")


def test_the_recipe_is_one_that_can_be_trained():
    namespace: dict = {}
    exec(compile(RECIPE, "interventions.md", "exec"), namespace)
    arms = namespace["recipe"]("quick")
    check_arms(arms)
    assert [name for name, each in arms.items() if donors(each)] == list(arms)[1:]


def test_the_yaml_and_the_groups_of_the_tables_are_read():
    (written,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert isinstance(tiny(**yaml.safe_load(written)), Experiment)
    experiment = tiny()
    module = experiment.model.build(experiment.task.interface)
    parameters = [name for name, _ in module.named_parameters()]
    found = re.findall(r"`(\[[a-z., ]+\])`", TEXT)
    assert len(found) == 8
    for groups in found:
        assert select(parameters, yaml.safe_load(groups))


def test_what_stands_in_the_table_is_there_with_these_fields():
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", TEXT, re.MULTILINE)
    assert {kind for kind, *_ in rows} == set(Intervention.registry)
    for kind, fields, memberwise in rows:
        part = Intervention.registry[kind]
        assert set(re.findall(r"`(\w+)`", fields)) == set(part.model_fields) - {"kind"}
        assert set(re.findall(r"`(\w+)`", memberwise)) == set(part.memberwise)


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in TEXT.split("\n") if not line.startswith("|")) <= 100
