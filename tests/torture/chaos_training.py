"""A small Saltus training as a script: starts the run in a folder, or resumes the one it finds.

python chaos_training.py FOLDER          trains to the end, and says where it began
python chaos_training.py FOLDER proof    prints one digest of all files that know no clock
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
from victim import contents, small

from saltus.runs import list_runs, verify
from saltus.training.launch import create, resume


def train(folder: Path) -> None:
    """Train the run in `folder`, and print the step that it went on from."""
    runs = list_runs(folder)
    path = runs[0].path if runs else create(small(), folder)
    begun: list[int] = []
    resume(path, lambda shard, step, loss, leapt: begun.append(step))
    print(f"resumed from step {begun[0] if begun else small().steps}")


def proof(folder: Path) -> str:
    """The number of runs, whether each is proven by verify, and the digest of their files."""
    runs = [run.path for run in list_runs(folder)]
    files = [contents(path) for path in runs]
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    return f"{len(runs)} {[verify(path).problems for path in runs]} {digest}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2:] == ["proof"]:
        print(proof(Path(sys.argv[1])))
    else:
        train(Path(sys.argv[1]))
