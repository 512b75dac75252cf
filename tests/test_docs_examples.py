"""The pages on adding a task, an intervention and a model, and on flows, are run as they stand."""

import importlib.util
import re
import sys
from math import pi
from pathlib import Path

import pytest

from saltus.experiment import Experiment
from saltus.interventions import Intervention
from saltus.models import Model
from saltus.runs import open_run
from saltus.tasks import Task

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {
    "adding-a-task": (Task, "rotation", 4),
    "adding-an-intervention": (Intervention, "sharpen", 2),
    "adding-a-model": (Model, "running-mean", 3),
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import source text as a module, and forget it and its parts afterwards."""
    for family in (Task, Intervention, Model):
        monkeypatch.setattr(family, "registry", dict(family.registry))

    def load(source):
        place = re.match(r"# (?:src/)?([\w/]+)\.py\n", source).group(1)
        path = tmp_path / f"{place.replace('/', '.')}.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs(page, load):
    family, kind, count = PAGES[page]
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    load(blocks[0])
    assert kind in family.registry
    tests = [value for name, value in vars(load(blocks[1])).items() if name.startswith("test_")]
    assert len(tests) == count
    for run in tests:
        run()


def test_the_page_on_flows_runs_and_its_yaml_is_its_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "flow.md").read_text("utf-8")
    following, solving = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (written,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    exec(compile(following, "flow.md", "exec"), {})
    run = open_run("runs/experiment")
    assert abs(run.series("conservation/blocks.0.qk").values[:, -1]).max() < 1e-10
    same = {"name": "experiment", "engine.workers": 1}
    assert Experiment.from_yaml(written).override(same).to_yaml() == run.experiment_yaml
    namespace: dict = {}
    exec(compile(solving, "flow.md", "exec"), namespace)
    left = namespace["solution"].events["left"].tolist()
    assert left == pytest.approx([pi / 2, 3 * pi / 4])  # one turn takes 2 pi
    assert capsys.readouterr().out.count("tensor") == 2


def test_the_page_on_transitions_runs():
    text = (DOCS / "transitions.md").read_text("utf-8")
    finished, live = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for source in (finished, live):  # they assert what they claim
        exec(compile(source, "transitions.md", "exec"), {})


@pytest.mark.parametrize("page", [*PAGES, "flow", "transitions"])
def test_the_page_fits_the_width_of_the_code(page):
    lines = (DOCS / f"{page}.md").read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
