"""Makes faults and prints what became of each kind, one row of JSON per line.

    python tests/torture GROUP COUNT FOLDER        GROUP:NAME for one function that makes one row

A plain program, apart from pytest: one import of the libraries serves many forked processes, and
the code that is tortured is the code that users run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch


def main(group: str, count: int, folder: Path) -> None:
    """Print the rows of a group of faults, made in `folder`."""
    torch.set_num_threads(1)
    module, _, one = group.partition(":")
    rows = getattr(importlib.import_module(module), one or "faults")(folder, count)
    for row in [rows] if one else rows:
        print(row.encode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
