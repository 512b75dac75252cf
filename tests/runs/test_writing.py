"""Creating and writing: names, members, locks, what is refused, what is released."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.runs import Run, RunWriter, ShardWriter, create_run, list_runs, verify


def test_a_taken_name_gets_a_number_and_nothing_is_left_behind(
    toy: ModuleType, tmp_path: Path
) -> None:
    assert [toy.create(tmp_path).name for _ in range(3)] == ["toy", "toy-2", "toy-3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy-2", "toy-3"]
    assert [run.name for run in list_runs(tmp_path)] == ["toy", "toy-2", "toy-3"]


def test_a_run_appears_whole_or_not_at_all(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(SaltusError, match="disk full while creating run 'toy'"):
            toy.create(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../up"}, r"run name '\.\./up' is not allowed"),
        ({"name": ".hidden"}, "is not allowed"),
        ({"members": []}, "needs at least one"),
        ({"members": [{"seed": "x"}]}, "seed of member 0 is not an integer"),
        ({"members": [{"seed": 1, "member": 3}]}, "member 3 stands at position 0"),
        ({"shards": [[0], [0]]}, "exactly one shard"),
        ({"shards": [[0], []]}, "no shard is empty"),
        ({"provenance": {"x": object()}}, "cannot be written as JSON"),
    ],
)
def test_bad_runs_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    good = {"name": "a", "experiment_yaml": "", "members": [{"seed": 1}], "shards": [[0]]}
    with pytest.raises(SaltusError, match=message):
        create_run(tmp_path, **{**good, **changes})
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_refused_and_told_the_pid(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.create(tmp_path)
    program = "import sys; from saltus.runs import RunWriter; RunWriter(sys.argv[1])"
    with RunWriter(run):
        assert Run(run).status["state"] == "running"
        with pytest.raises(SaltusError, match=f"is being written by process {os.getpid()}: wait"):
            RunWriter(run)
        command = [sys.executable, "-c", program, str(run)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"is being written by process {os.getpid()}" in other.stderr
    assert Run(run).status["state"] == "new"
    RunWriter(run).close()


def test_a_second_writer_of_a_shard_waits_then_is_refused(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy.create(tmp_path)
    with ShardWriter(run, 0), ShardWriter(run, 1):
        times = iter(range(0, 100, 3))  # seconds that pass between two looks at the clock
        monkeypatch.setattr("saltus.runs.locks.time.monotonic", lambda: next(times))
        with pytest.raises(SaltusError, match=f"shard 1 of .* by process {os.getpid()}"):
            ShardWriter(run, 1)
        assert next(times) == 9
    ShardWriter(run, 1).close()


def test_a_forked_child_does_not_keep_the_lock(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.create(tmp_path)
    program = f"""
import os, sys, time
from saltus.runs import RunWriter
writer = RunWriter({str(run)!r})
if os.fork():
    os._exit(0)
os.close(1)
time.sleep(20)
"""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE, process_group=0
    )
    try:
        assert child.wait(10) == 0
        RunWriter(run).close()  # although the orphan is still asleep
    finally:
        os.killpg(child.pid, 9)
        assert child.stdout is not None
        child.stdout.close()


def test_rolling_checkpoints_are_released_and_kept_ones_stay(done: Path) -> None:
    assert [shard.checkpoints() for shard in Run(done).shards] == [[0, 12, 20, 24]] * 2
    assert [record.step for record in Run(done).shards[0].records] == [0, 4, 8, 12, 16, 20, 24]


def test_nothing_is_released_for_a_checkpoint_that_reads_back_differently(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy.create(tmp_path, [[0, 1, 2]])
    with ShardWriter(run, 0) as shard:
        for step in (1, 2):
            shard.checkpoint(step, {"w": np.zeros((3, 2))}, keep=False)
        monkeypatch.setattr("saltus.runs.shard_writer.sha256_of_file", lambda path: "other")
        with pytest.raises(SaltusError, match="reads back differently"):
            shard.checkpoint(3, {"w": np.zeros((3, 2))}, keep=False)
    assert Run(run).checkpoints() == [1, 2] and verify(run).ok


def test_rows_and_checkpoints_that_do_not_fit_are_refused(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.create(tmp_path, [[0, 1, 2]])
    with pytest.raises(SaltusError, match=r"shard 4 is not in .*; allowed: \[0\]"):
        ShardWriter(run, 4)
    with ShardWriter(run, 0) as shard:
        shard.record(5, {"loss": np.zeros(3, np.float32)})
        shard.flush()
        for step, value, message in [
            (5, np.zeros(3, np.float32), "step 5 is not allowed; step 5 is recorded"),
            (6, np.zeros(2, np.float32), "the first axis must be the 3 members"),
            (6, np.zeros(3), "it was float32"),
            (6, np.zeros((3, 1), np.float32), "it was float32"),
            (6, np.zeros(3, complex), "type complex128 is not allowed"),
        ]:
            with pytest.raises(SaltusError, match=message):
                shard.record(step, {"other": np.zeros(3), "loss": value})
        shard.record(6, {"other": np.zeros(3, bool)})  # the refused rows left nothing behind
        with pytest.raises(SaltusError, match="w has shape"):
            shard.checkpoint(6, {"w": np.zeros(4)}, keep=True)
        shard.checkpoint(6, {"w": np.zeros(3)}, keep=True)
        shard.checkpoint(6, {"w": np.zeros(3)}, keep=True)  # the same again: nothing to do
        with pytest.raises(SaltusError, match="step 6 is not allowed: the last one is of step 6"):
            shard.checkpoint(6, {"w": np.ones(3)}, keep=True)
        with pytest.raises(SaltusError, match="state 'finished' is not allowed"):
            shard.status(state="finished")
    with ShardWriter(run, 0) as shard, pytest.raises(SaltusError, match="call resume"):
        shard.record(7, {"loss": np.zeros(3, np.float32)})
    assert verify(run).ok


def test_recorded_arrays_may_be_reused_by_the_caller(toy: ModuleType, tmp_path: Path) -> None:
    run, loss = toy.create(tmp_path, [[0, 1, 2]]), np.zeros(3)
    with ShardWriter(run, 0) as shard:
        for step in range(3):
            loss += 1
            shard.record(step, {"loss": loss})
        shard.flush()
    assert Run(run).series("loss").values[0].tolist() == [1, 2, 3]


def test_divergence_after_the_resume_point_is_forgotten(halfway: Path) -> None:
    with ShardWriter(halfway, 0) as shard:
        shard.resume()
        shard.status(diverged={0: 7, 2: 9})
    with ShardWriter(halfway, 0) as shard:
        assert shard.resume() is not None  # of step 8
        shard.status(seconds=1.0)
    assert Run(halfway).status["diverged"] == {0: 7}
