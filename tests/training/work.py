"""What the workers of test_workers.py do: a module of its own, for workers import it by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from saltus.errors import SaltusError
from saltus.training.workers import Progress


def act(path: str, shard: int, progress: Progress) -> None:
    """Do with a shard what the file `path` says: note, wait, fail, break, or leave.

    Every shard leaves a file PATH-SHARD with the worker's pid; `wait` goes on when there is a file
    PATH-go.
    """
    order = Path(path).read_text()
    progress(shard, 0, 0.5, 0)
    note = Path(f"{path}-{shard}")
    note.with_suffix(".tmp").write_text(str(os.getpid()))
    note.with_suffix(".tmp").rename(note)
    if order == "wait":
        while not Path(f"{path}-go").exists():
            time.sleep(0.01)
    if order == "fail":
        raise SaltusError(f"{path}: disk full")
    if order == "break":
        raise KeyError("a\nmistake")
    if order == "leave":
        os._exit(3)
    progress(shard, 7, 0.25, 1)
