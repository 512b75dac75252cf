"""The page on adding an instrument is run as it stands."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from saltus.instruments import Instrument

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-an-instrument.md"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import source text as a module, and forget it and its instruments afterwards."""
    monkeypatch.setattr(Instrument, "registry", dict(Instrument.registry))

    def load(name, source):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_page_runs(load):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    for instrument, test, kind, count in (
        (*blocks[:2], "confidence", 3),
        (*blocks[2:], "barrier", 2),
    ):
        assert instrument.startswith(f"# src/saltus/instruments/{kind}.py\n")
        load(f"saltus.instruments.{kind}", instrument)
        assert Instrument.parse(kind).kind == kind
        module = load(f"test_{kind}", test)
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        assert len(tests) == count
        for run in tests:
            run()


def test_the_page_fits_the_width_of_the_code():
    lines = PAGE.read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
