"""Promise 2, kill anywhere: after a crash at any instant, the resumed files equal the unbroken."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from saltus.errors import SaltusError
from saltus.runs import Run, verify

Fresh = Callable[[object], Path]
CALLS = ("write", "fsync", "replace", "unlink", "ftruncate")


class Crash(BaseException):
    """The process is dead: nothing may catch this and go on."""


class FaultyDisk:
    """Counts the calls that change the disk, and fails at one of them, halfway through a write.

    With `Crash` every later call fails too, as nothing runs in a dead process; an OSError comes
    once per call that finds the disk full, and what frees space still works.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int) -> None:
        self.count, self.at, self.error = 0, at, error
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(name, getattr(os, name)))

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            full = isinstance(self.error, OSError)
            if full and name not in ("write", "fsync"):
                return real(*arguments, **options)
            self.count += 1
            if self.count < self.at or (full and self.count > self.at):
                return real(*arguments, **options)
            if name == "write" and self.count == self.at:
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            raise self.error

        return call


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real flushing: these tests end processes, they do not cut the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def fresh(toy: ModuleType, tmp_path: Path) -> Fresh:
    """Makes new runs of one shard, quickly: one is created, the others are its copies."""
    first = toy.create(tmp_path / "first", [[0, 1, 2]])
    return lambda name: Path(shutil.copytree(first, tmp_path / str(name)))


@pytest.fixture(scope="module")
def single(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = toy.create(tmp_path_factory.mktemp("single"), [[0, 1, 2]])
    toy.train(run, 12)
    return run


def test_a_crash_at_every_single_write(
    toy: ModuleType, single: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, at = toy.content(single), 0
    while True:
        at += 1
        run = fresh(at)
        with monkeypatch.context() as patch:
            disk = FaultyDisk(patch, Crash(), at)
            with suppress(Crash):
                toy.train(run, 12)
        if disk.count < at:
            break
        report = verify(run)
        assert report.ok, (at, report.problems)
        toy.train(run, 12)
        assert toy.content(run) == expected, at
        assert verify(run).ok and Run(run).status["state"] == "done"
    assert at > 50


def test_a_crash_while_resuming_from_a_crash(
    toy: ModuleType, single: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = toy.content(single)
    for first in range(21, 54, 8):
        for second in range(1, 14, 2):
            run = fresh(f"{first}-{second}")
            for at in (first, second):
                with monkeypatch.context() as patch, suppress(Crash):
                    FaultyDisk(patch, Crash(), at)
                    toy.train(run, 12)
            assert verify(run).ok
            toy.train(run, 12)
            assert toy.content(run) == expected, (first, second)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_loses_nothing(
    toy: ModuleType, single: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    expected, at = toy.content(single), 0
    while True:
        at += 1
        run = fresh(at)
        with monkeypatch.context() as patch:
            disk = FaultyDisk(patch, OSError(number, "full"), at)
            try:
                toy.train(run, 12)
                message = ""
            except SaltusError as error:
                message = str(error)
        if disk.count < at:
            break
        if message:  # without one, only the pid in a lock file was lost, which is for people
            assert message.startswith("disk full while writing ") and "\n" not in message
            assert f"nothing is lost: free space and run `saltus resume {run}`" in message
        report = verify(run)
        assert report.ok and not any("incomplete" in note for note in report.notes)
        toy.train(run, 12)
        assert toy.content(run) == expected, at
    assert at > 30


def test_a_small_disk_that_is_really_full(toy: ModuleType, single: Path, tmp_path: Path) -> None:
    """In a user namespace with a tmpfs of its own; skipped where that is not permitted."""
    script = f"""
import sys; sys.path.insert(0, {str(Path(toy.__file__).parent)!r})
from pathlib import Path
import toy
from saltus.errors import SaltusError
run = toy.create(Path({str(tmp_path)!r}), [[0, 1, 2]])
ballast = Path({str(tmp_path / "ballast")!r})
with ballast.open("wb", buffering=0) as file:
    try:
        while file.write(b"x" * 512): pass
    except OSError: pass
    file.truncate(max(0, file.tell() - 32768))
try:
    toy.train(run, 12)
    print("no error")
except SaltusError as error:
    print(error)
from saltus.runs import verify
print(verify(run).problems or True)
ballast.unlink()
toy.train(run, 12)
print(toy.content(run) == toy.content(Path({str(single)!r})))
"""
    mount = 'mount -t tmpfs -o size=160k none "$0" || exit 77; exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path), sys.executable, "-c", script]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("mounting is not permitted here")
    message, whole, equal = result.stdout.splitlines()
    assert message.startswith("disk full while writing") and (whole, equal) == ("True",) * 2


def test_kill_a_real_process_at_random_instants(
    toy: ModuleType, unbroken: Path, tmp_path: Path
) -> None:
    chance, kills, whole, attempt = random.Random(7), 0, 0.3, 0
    while kills < 5:
        attempt += 1
        assert attempt < 60
        run = toy.create(tmp_path / str(attempt))
        process = subprocess.Popen(
            [sys.executable, toy.__file__, str(run)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start = time.monotonic()
        try:
            process.wait(chance.uniform(0, whole))
            whole = time.monotonic() - start  # it was faster than the kill: aim better
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            assert Run(run).status["state"] in ("new", "interrupted", "done")
        process.stdout.close()
        report = verify(run)
        assert report.ok, report.problems
        toy.train(run)
        assert toy.content(run) == toy.content(unbroken)
        assert verify(run).ok and verify(run).notes == []


def test_a_truncated_log_falls_back(toy: ModuleType, unbroken: Path, done: Path) -> None:
    log = done / "shards/000/metrics.log"
    os.truncate(log, log.stat().st_size // 2)
    assert not verify(done).ok and not Run(done).shards[0].done and Run(done).shards[1].done
    toy.train(done)
    assert toy.content(done) == toy.content(unbroken) and verify(done).ok


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    toy: ModuleType, unbroken: Path, done: Path, damage: str
) -> None:
    newest = done / "shards/000/checkpoints/step-00000024.safetensors"
    data = newest.read_bytes()
    newest.write_bytes(data[:-9] if damage == "truncated" else data[:-1] + b"\xff")
    if damage == "missing":
        newest.unlink()
    with toy.ShardWriter(done, 0) as shard:
        found = shard.resume()
        assert found is not None and found[0] == 20
        assert any("step-00000024" in note for note in shard.notes)
        assert Run(done).status["state"] == "running" and verify(done).ok
    toy.train(done)
    assert toy.content(done) == toy.content(unbroken) and verify(done).ok


@pytest.mark.parametrize("file", ["metrics.log", "chain.jsonl"])
def test_nothing_left_to_trust_starts_from_nothing(
    toy: ModuleType, unbroken: Path, done: Path, file: str
) -> None:
    path = done / "shards/000" / file
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with toy.ShardWriter(done, 0) as shard:
        # The checkpoint of step 0 has no metrics before it; without the chain even that is gone.
        found = shard.resume()
        assert (found is None) if file == "chain.jsonl" else (found is not None and found[0] == 0)
    toy.train(done)
    assert toy.content(done) == toy.content(unbroken) and verify(done).ok
