"""Disks that are full or read-only."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from reading import mistakes, read
from row import Row, decode
from victim import contents, copied, experiment, finished, in_child, interrupted, resumed, small

from saltus.errors import SaltusError
from saltus.runs import verify
from saltus.training.launch import create, resume, start

LINE = "one line says so and how to go on; with space again, every file equals the unbroken run's"
ITSELF = str(Path(__file__).with_name("__main__.py"))


def faults(root: Path, count: int) -> Iterator[Row]:
    """All faults of this file; the last two in a namespace with mounts of its own."""
    yield full_at_every_write(root / "every-write", stride=1)
    yield mounted(root / "tmpfs", "full_for_real", max(1, count // 10))
    yield read_only_mount(root, 1)


def read_only_mount(root: Path, count: int) -> Row:
    """A file system that is made read-only, in a namespace of its own."""
    return mounted(root / "tmpfs-read-only", "read_only", count)


def full_at_every_write(root: Path, stride: int) -> Row:
    """The first, second, third … write or fsync of a training finds no space left."""
    row = Row("disk full at every single write and fsync of a training", LINE)
    expected = contents(finished(root / "unbroken", small()))
    path, at = create(small(), root), 1
    while True:
        run = copied(path, root / "again" / path.name)
        answer, asked = os.pipe()

        def fill(run: Path = run, at: int = at, asked: int = asked) -> None:
            full = Full(at)
            try:
                resume(run)
            except SaltusError as error:
                with suppress(OSError):
                    full.real_write(asked, str(error).encode())
            if full.left > 0:
                os._exit(9)

        code = in_child(fill)
        os.close(asked)
        with os.fdopen(answer) as said:
            message = said.read()
        if code == 9:  # there is no such write
            return row
        row.count(*_one_line(code, message, run), *resumed(run, expected))
        at += stride


def _one_line(code: int, message: str, run: Path) -> list[str]:
    wrong = [] if code == 0 else [f"the process ended with {code}"]
    # Without a message only the pid in a lock file was lost, which is for people to read.
    if message and not (
        message.startswith("disk full while writing ")
        and message.endswith(f"nothing is lost: free space and run `saltus resume {run}`")
        and "\n" not in message
    ):
        wrong.append(f"said: {message}")
    return wrong + verify(run).problems


class Full:
    """Within a forked process: the write or fsync number `at` finds the disk full, halfway."""

    def __init__(self, at: int) -> None:
        self.left, self.real_write = at, os.write
        for name in ("write", "fsync"):
            setattr(os, name, self._failing(name, getattr(os, name)))

    def _failing(self, name: str, real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        return call


def mounted(folder: Path, work: str, count: int) -> Row:
    """Do `work` of this file in a user namespace, in a small file system of its own at `folder`."""
    folder.mkdir(parents=True)
    mount = 'mount -t tmpfs -o size=3m none "$0" || exit 77; exec "$@"'
    command = [sys.executable, ITSELF, f"disks:{work}", str(count), str(folder)]
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, str(folder), *command],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    except FileNotFoundError:
        return Row(work.replace("_", "-"), LINE, skipped="no unshare")
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        return Row(work.replace("_", " "), LINE, skipped="no mounts of its own for a user")
    if done.returncode:
        return Row(work.replace("_", " "), LINE, 1, [done.stderr[-2000:]])
    return decode(done.stdout)


def full_for_real(root: Path, count: int) -> Row:
    """A tmpfs of 3 MB with a random number of bytes left, in which a run is trained."""
    row = Row("a file system that is really full, with a random number of bytes left", LINE)
    expected = contents(finished(root / "unbroken", small()))
    path, chance = create(small(), root), random.Random("full")
    needed = sum(len(data) for data in expected.values())
    for _ in range(count):
        run = copied(path, root / "again" / path.name)
        _fill(root / "ballast", leave=chance.randrange(needed))
        said = ""
        try:
            resume(run)
        except SaltusError as error:
            said = str(error)
        wrong = [] if said else ["the disk was full and nobody said so"]
        wrong += _one_line(0, said, run)
        (root / "ballast").unlink()
        row.count(*wrong, *resumed(run, expected))
    return row


def _fill(ballast: Path, leave: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        file.truncate(max(0, file.tell() - leave))


def read_only(root: Path, count: int) -> Row:
    """The file system is made read-only below a finished run and an interrupted one."""
    row = Row(
        "a read-only file system (a real one: nobody may write, root neither)",
        "what is there is read and proven as before; resuming, starting: one line, no file changed",
    )
    whole = finished(root / "whole", experiment())
    stopped = interrupted(root / "stopped", experiment())
    truth = {run: read(run) for run in (whole, stopped)}
    before = {run: contents(run) for run in (whole, stopped)}
    _remount(root, "ro")
    for run in (whole, stopped):
        row.count(*mistakes(read(run), truth[run]), *verify(run).problems)
    row.count(*_refused(lambda: resume(stopped), "read-only file system"))
    row.count(*_refused(lambda: start(small(), root / "new"), "read-only file system"))
    row.count(*(f"{run.name} changed" for run in before if contents(run) != before[run]))
    _remount(root, "rw")
    row.count(*resumed(stopped, before[whole]))
    return row


def _refused(work: Any, why: str) -> list[str]:
    try:
        work()
    except SaltusError as error:
        return [] if why in str(error) and "\n" not in str(error) else [str(error)]
    return ["nobody said anything"]


def _remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
