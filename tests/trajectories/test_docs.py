"""The example of docs/trajectories.md, as it stands there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "trajectories.md"


def test_the_example_runs_and_finds_the_fault(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text("utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(source, PAGE.name, "exec"), {})
    printed = capsys.readouterr().out
    said = " ".join(re.search(r"^prints `(.*?)`", page, re.DOTALL | re.MULTILINE)[1].split())
    assert printed == f"{said}\n"
