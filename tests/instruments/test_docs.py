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
    instrument, test = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert instrument.startswith("# src/saltus/instruments/confidence.py\n")
    load("saltus.instruments.confidence", instrument)
    assert Instrument.parse("confidence").cadence.every == 100
    module = load("test_confidence", test)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for run in tests:
        run()
