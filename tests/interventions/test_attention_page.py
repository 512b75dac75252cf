"""The page on attention is run as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from saltus.interventions import Intervention
from saltus.models.normalisers import Normaliser
from saltus.studies import find_study
from saltus.training.schedules import Schedule
from tiny_experiments import tiny

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "attention.md").read_text("utf-8")


def test_the_program_prints_what_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(program, "attention.md", "exec"), {"__name__": "__main__"})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = re.findall(r"```\n(softmax .*?)```", TEXT, re.DOTALL)[0]
    expected = [line.split() for line in shown.splitlines()]
    assert [name for name, _ in printed] == [name for name, _ in expected]
    for (_, found), (_, told) in zip(printed, expected, strict=True):
        assert abs(float(found) - float(told)) < 0.002  # in the last digit


def test_every_command_is_an_experiment():
    commands = re.findall(r"^saltus run (\S+) --set (.+)$", TEXT, re.MULTILINE)
    assert len(commands) == 3
    for where, option in commands:
        field, _, value = shlex.split(option)[0].partition("=")
        study, _, arm = where.partition(":")
        plain = find_study(study).recipe("quick")[arm] if arm else tiny()
        plain.override({field: yaml.safe_load(value)})


def test_the_tables_name_every_normaliser_and_the_fields_of_the_interventions():
    kinds = set(re.findall(r"^\| `([a-z-]+)`[^|]*\|[^|]*\|[^|]*\|$", TEXT, re.MULTILINE))
    assert kinds == set(Normaliser.registry)
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\|([^|]*)\|([^|]*)\|[^|]*\|$", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for kind, fields, memberwise in rows:
        part = Intervention.registry[kind]
        assert set(re.findall(r"`(\w+)`", fields)) == set(part.model_fields) - {"kind"}
        assert set(re.findall(r"`(\w+)`", memberwise)) == set(part.memberwise)


def test_the_schedule_is_the_papers():
    (written,) = re.findall(r"`(\{shape: epoch-cosine[^`]*\})`", TEXT)
    schedule = Schedule.model_validate(yaml.safe_load(written))
    peak, epoch = 5e-4, 117
    assert peak * schedule.at(0, 300 * epoch) == 1e-6
    assert abs(peak * schedule.at(3 * epoch, 300 * epoch) - (1e-6 + 2 * (peak - 1e-6) / 5)) < 1e-15


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in TEXT.split("\n") if not line.startswith("|")) <= 100
