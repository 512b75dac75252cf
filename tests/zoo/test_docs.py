"""docs/zoo.md: its Python runs, its commands too, and its table names every entry."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from saltus.cli import main
from saltus.zoo import ENTRIES

PAGE = (Path(__file__).parents[2] / "docs/zoo.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(gpt2, tmp_path_factory):
    """Where the page's Python has run, with a micro entry in place of gpt2-stdlib."""
    place = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setitem(ENTRIES, "gpt2-stdlib", replace(gpt2, steps=3))
        namespace: dict = {}
        for source in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(source, "zoo.md", "exec"), namespace)
    assert len(namespace["trajectory"].total.norm) == 4
    return place


@pytest.mark.parametrize("command", re.findall(r"^saltus (.*)$", PAGE, re.MULTILINE))
def test_its_commands_run(place, gpt2, monkeypatch, capsys, command):
    monkeypatch.chdir(place)
    monkeypatch.setitem(ENTRIES, "gpt2-stdlib", replace(gpt2, steps=3))
    words = [
        found
        for word in shlex.split(command)
        for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    assert main(words) == 0
    assert capsys.readouterr().out


def test_its_table_names_every_entry():
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == [
        "gpt2-stdlib",
        "gpt2-stdlib-seed1",
        "gpt2-stdlib-sqrt",
        "gpt2-kjv",
        "gpt2-wikipedia",
        "bert-stdlib",
    ]
    assert set(ENTRIES) == set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in PAGE.split("\n") if not line.startswith("|")) <= 100
