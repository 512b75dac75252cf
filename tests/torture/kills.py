"""Processes that die by SIGKILL: anywhere, while they resume, at each write, one of two."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from row import Row
from victim import contents, copied, experiment, finished, in_child, interrupted, resumed, small

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import list_runs, verify
from saltus.training.launch import create, resume, train_in_worker
from saltus.training.workers import Workers

CALLS = ("open", "mkdir", "write", "fsync", "rename", "replace", "unlink", "ftruncate")
SAME = "resumed, every file equals the unbroken run's"


def faults(root: Path, count: int) -> Iterator[Row]:
    """All faults of this file."""
    yield while_resuming(root / "resuming", count)
    yield at_every_write(root / "writes", stride=1)
    yield at_every_write_of_creation(root / "creation")
    yield one_of_two_workers(root / "workers", max(1, count // 20))


def while_resuming(root: Path, count: int) -> Row:
    """A process that resumes an interrupted run dies within its first 30 ms, again and again."""
    row = Row("SIGKILL in the first 30 ms of resuming a run, again and again", SAME)
    expected = contents(finished(root / "unbroken", experiment()))
    path, chance = interrupted(root, experiment()), random.Random("while resuming")
    again = copied(path, root / "again" / path.name)
    for number in range(count):
        child = os.fork()
        if child == 0:
            resume(again)
            os._exit(0)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        problems = verify(again).problems
        if number % 20 == 19 or number == count - 1:
            problems += resumed(again, expected)
            again = copied(path, root / "again" / path.name)
        row.count(*problems)
    return row


class Killer:
    """Within a forked process: SIGKILL at the call number `at` that changes the disk.

    A write is done by half first. Used as a patch of `os`, for good: the process will die.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        for name in CALLS:
            setattr(os, name, self._killing(name, getattr(os, name)))

    def _killing(self, name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            reads = name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
            self.left -= not reads
            if self.left == 0 and not reads:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call


def at_every_write(
    root: Path,
    stride: int,
    what: Experiment | None = None,
    name: str = "a training",
    first: int = 1,
) -> Row:
    """A training dies at its first, second, third … call that changes the disk."""
    row = Row(f"SIGKILL at every single open, write, fsync, rename, delete of {name}", SAME)
    what = what or small()
    expected = contents(finished(root / "unbroken", what))
    path, at = create(what, root), first

    while True:
        run = copied(path, root / "again" / path.name)

        def die(run: Path = run, at: int = at) -> None:
            Killer(at)
            resume(run)

        if in_child(die) == 0:  # there is no such call: the training came to its end
            return row
        row.count(*verify(run).problems, *resumed(run, expected))
        at += stride


def at_every_write_of_creation(root: Path) -> Row:
    """The same while the directory of a run is made."""
    row = Row("SIGKILL at every single write while a run is created", "whole, or not there at all")
    at = 0
    while True:
        at += 1
        folder = root / str(at)

        def die(folder: Path = folder, at: int = at) -> None:
            Killer(at)
            create(small(), folder)

        if in_child(die) == 0:
            return row
        row.count(*(line for run in list_runs(folder) for line in verify(run.path).problems))


def one_of_two_workers(root: Path, count: int) -> Row:
    """Two workers train a run; one dies at a random instant."""
    row = Row(
        "SIGKILL of one worker of two",
        "one line says so and how to go on; " + SAME,
    )
    what, chance = experiment(engine={"workers": 2, "chunk": 1}), random.Random("workers")
    expected = contents(finished(root / "unbroken", what))
    with Workers(2, train_in_worker) as pool:
        resume(create(what, root / "warm"), pool=pool)  # the first start imports the libraries
        for _ in range(count):
            path = create(what, root)
            row.count(*_one_dies(path, pool, chance), *resumed(path, expected))
    return row


def _one_dies(path: Path, pool: Workers, chance: random.Random) -> list[str]:
    begun, said = threading.Event(), []

    def train() -> None:
        try:
            resume(path, lambda *_: begun.set(), pool=pool)
        except SaltusError as error:
            said.append(str(error))
        begun.set()

    thread = threading.Thread(target=train)
    thread.start()
    begun.wait(60)
    time.sleep(chance.uniform(0, 0.1))
    busy = [worker for worker in pool.workers if worker.order is not None]
    if busy:
        os.kill(chance.choice(busy).process.pid, signal.SIGKILL)
    thread.join(60)
    if not said:  # it was faster, or had just given its shard back
        return []
    wanted = f"a worker of {path} was killed (SIGKILL); nothing is lost: saltus resume {path}"
    return [] if said == [wanted] else said
