"""The page on normalisation is run as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from saltus.models import Model
from saltus.models.language_model import VARIANTS
from saltus.models.transformer import Blocks
from saltus.studies import find_study

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "normalisation.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_first_program_prints_what_the_page_shows(capsys):
    exec(compile(PROGRAMS[0], "normalisation.md", "exec"), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = re.findall(r"```\n(pre .*?)```", TEXT, re.DOTALL)[0]
    expected = [line.split() for line in shown.splitlines()]
    assert len(printed) == 6
    for mine, told in zip(printed, expected, strict=True):
        assert mine[:2] == told[:2]
        for found, said in zip(mine[2:], told[2:], strict=True):
            assert float(found) == pytest.approx(float(said), rel=0.5, abs=0.011)  # last digits
        assert (float(mine[-1]) == 0) == (mine[1] == "negative-infinity")


def test_the_second_program_asserts_what_it_claims():
    assert len(PROGRAMS) == 2
    exec(compile(PROGRAMS[1], "normalisation.md", "exec"), {})
    assert f"assert len(VARIANTS) == {len(VARIANTS)}" in PROGRAMS[1]


def test_every_command_is_an_experiment():
    commands = re.findall(r"^saltus run (\S+) --set (.+)$", TEXT, re.MULTILINE)
    assert len(commands) == 4
    for where, option in commands:
        field, _, value = shlex.split(option)[0].partition("=")
        study, _, arm = where.partition(":")
        changed = find_study(study).recipe("quick")[arm].override({field: yaml.safe_load(value)})
        assert getattr(changed.model, field.removeprefix("model.")) == value


def test_the_table_of_fields_names_fields_and_their_values():
    table = TEXT[TEXT.index("## The fields") :]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|([^|]*)\|[^|]*\|$", table, re.MULTILINE)
    named = [name for fields, _ in rows for name in re.findall(r"`(\w+)`", fields)]
    assert len(named) == 12
    assert all(name in Blocks.model_fields for name in named)
    for field, values in rows:
        for value in re.findall(r"`([a-z-]+)`", values):
            Model.parse({"kind": "decoder", field.strip("`"): value})


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in TEXT.split("\n") if not line.startswith("|")) <= 100
