"""docs/analyse.md says what is so: its programs, its commands and its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from saltus.cli import main

PAGE = Path(__file__).parents[2] / "docs/analyse.md"
TEXT = PAGE.read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"^saltus (analyse checkpoints.*)$", TEXT, re.MULTILINE)))


def test_the_programs_and_the_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for program in PROGRAMS:
        exec(compile(program, PAGE.name, "exec"), {})
    capsys.readouterr()
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        assert main(shlex.split(command)) == 0, command
        assert capsys.readouterr().out
    assert Path("trajectory.html").exists()


def test_the_options_it_names_exist(capsys):
    main(["analyse", "--help"])
    text = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z-]+", TEXT)):
        assert option in text, option


@pytest.mark.parametrize("name", re.findall(r"\]\(([\w-]+\.md)\)", TEXT))
def test_the_pages_it_points_to_exist(name):
    assert (PAGE.parent / name).is_file()


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in TEXT.split("\n") if not line.startswith("|")) <= 100
