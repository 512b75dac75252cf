"""The page on saturation is run as it stands."""

import re
from pathlib import Path

import yaml

from saltus.instruments import Instrument
from tiny_experiments import tiny

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "saturation.md").read_text("utf-8")


def test_the_programs_run_and_print_what_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(programs) == 3
    exec(compile("\n".join(programs), "saturation.md", "exec"), {"__name__": "__main__"})
    (shown,) = re.findall(r"```\n(branch-out .*?)```", TEXT, re.DOTALL)
    printed, expected = ([line.split() for line in text.splitlines()]
                         for text in (capsys.readouterr().out, shown))  # fmt: skip
    assert [line[:2] for line in printed] == [line[:2] for line in expected]
    for found, told in zip(printed, expected, strict=True):
        for one, other in zip(found[2:], told[2:], strict=True):
            assert abs(float(one) - float(other)) < 0.05  # rounding grows in training


def test_the_table_names_instruments_and_the_yaml_is_read():
    for kind in re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE):
        assert kind in Instrument.registry
    (written,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert tiny(**yaml.safe_load(written)).interventions


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in TEXT.split("\n") if not line.startswith("|")) <= 100
