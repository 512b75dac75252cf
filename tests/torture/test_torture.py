"""Faults made on purpose, a few times in the ordinary suite and many times by `make torture`.

The faults stand beside this file, one kind per file; they run in a plain process of their own
(`__main__.py`), and each row that it prints must say that every demand was met.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ITSELF = str(Path(__file__).parent / "__main__.py")
COUNT = int(os.environ.get("SALTUS_TORTURE_COUNT", "200"))
FULL = ("kills", "chaos", "damage", "disks", "writers", "frames")


def test_a_few_faults(tmp_path: Path, record_property) -> None:
    judged("quick", 1, tmp_path, record_property)


def test_a_read_only_file_system(tmp_path: Path, record_property) -> None:
    judged("disks:read_only_mount", 1, tmp_path, record_property)


@pytest.mark.torture
@pytest.mark.parametrize("group", FULL)
def test_in_full(group: str, tmp_path: Path, record_property) -> None:
    judged(group, COUNT, tmp_path, record_property)


def judged(group: str, count: int, folder: Path, record_property) -> None:
    """Run a group of faults; its rows go into the table, and none may hold anything wrong."""
    command = [sys.executable, ITSELF, group, str(count), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::RuntimeWarning"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for number, row in enumerate(rows):
        place = FULL.index(group) if group in FULL else 9
        record_property("torture", f"{place} {number:02d}\t{row['line']}")
    wrong = [f"{row['fault']}: {each}" for row in rows for each in row["wrong"]]
    assert not wrong, "\n".join(wrong[:20])
    assert rows and done.returncode == 0, done.stderr[-3000:]
