"""The page on the baseline: its example runs, and its first commands are understood."""

import re
import shlex
from pathlib import Path

from saltus.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "baseline.md").read_text("utf-8")


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example.replace("64", "8"), "baseline.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_commands_run(capsys):
    commands = re.findall(r"^saltus baseline .*$", PAGE, re.MULTILINE)
    assert len(commands) == 6
    for command in commands[:3]:
        assert main([*shlex.split(command)[1:], "--matrices", "2"]) == 0
        assert "duality gap" in capsys.readouterr().out
