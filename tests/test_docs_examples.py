"""The pages on adding a task, an intervention and a model are run as they stand."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from saltus.interventions import Intervention
from saltus.models import Model
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


@pytest.mark.parametrize("page", PAGES)
def test_the_page_fits_the_width_of_the_code(page):
    lines = (DOCS / f"{page}.md").read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
