"""The page on analyses is run as it stands: its Python, and its commands on the run it makes."""

import re
import shlex
from pathlib import Path

import pytest

from saltus.cli import main
from saltus.experiment import Experiment

PAGE = Path(__file__).resolve().parent.parent / "docs" / "analyses.md"
TEXT = PAGE.read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the page's program has run."""
    place = tmp_path_factory.mktemp("analyses")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
        namespace: dict = {}
        exec(compile("\n".join(blocks), PAGE.name, "exec"), namespace)
    assert isinstance(namespace["lame"], Experiment)
    return place


def test_the_page_s_program_runs(place):
    assert (place / "runs" / "tiny").is_dir()


@pytest.mark.parametrize(
    "command", re.findall(r"^saltus (look .*)$", TEXT, re.MULTILINE), ids=lambda c: c.split("'")[0]
)
def test_its_commands_run(place, monkeypatch, capsys, command):
    monkeypatch.chdir(place)
    assert main(shlex.split(command)) == 0
    said = capsys.readouterr()
    assert said.out and not said.err


def test_the_page_fits_the_width_of_the_code():
    assert max(map(len, TEXT.splitlines())) <= 100
