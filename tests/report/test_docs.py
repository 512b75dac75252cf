"""The page on the report runs as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def test_the_program_draws_a_figure_of_every_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (program,) = [each for each in programs if "heat_map_of" in each]
    exec(compile(program, "report.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == [
        "Ablated heads", "Ablated sets", "MSE", "Embeddings", "Attention",
    ]  # fmt: skip
    assert len(list((tmp_path / "drawn").glob("*.svg"))) == 5
