"""Promise 2: after SIGKILL at any instant, a resumed run ends bit-identical to the unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import killing
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import RunWriter, open_run, verify
from saltus.training.launch import create, resume, start
from tiny_experiments import tiny
from training.leaping import KINDS, falling

STEPS = 120


def experiment() -> Experiment:
    return tiny(
        steps=STEPS,
        seeds=2,
        instruments=[{"kind": "evaluation", "cadence": 10}, {"kind": "norms", "cadence": 7}],
        checkpoints={"every": 40, "rescue": 10},
        engine={"workers": 1, "chunk": 1},
    )


def flow() -> Experiment:
    """Gradient flow, with events on the way, in place of training."""
    kinds = ("evaluation", "two-phases", "class-balance")
    return tiny(
        task={"kind": "word-cooccurrence", "length": 4, "vocabulary": 43, "tokens": "unique"},
        model={"kind": "one-layer-attention", "width": 16, "neurons": 8},
        optimizer={
            "kind": "gradient-flow",
            "duration": 40.0,
            "clock": "model",
            "first": 0.1,
            "rtol": 1e-5,
        },
        instruments=[{"kind": kind, "cadence": 5} for kind in kinds],
        examples=24,
        batch=24,
        steps=60,
        seeds=2,
        checkpoints={"every": 20, "rescue": 5},
        engine={"workers": 1, "chunk": 1, "precision": "float64"},
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(start(experiment(), tmp_path_factory.mktemp("unbroken")).path)


def contents(path: Path) -> dict[str, bytes]:
    """Everything of a run that is not wall-clock."""
    wall_clock = {"status.json", "lock", "provenance.json", "manifest.json"}
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in wall_clock
    }


def killed_until_done(path: Path, kills: int, seed: int) -> int:
    """Kill at random instants, in rounds, until `kills` processes have died; then finish."""
    command = [sys.executable, killing.__file__, str(path), str(kills), str(seed), "0.25"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    resume(path)
    return int(done.stdout)


def assert_unbroken(path: Path, unbroken: dict[str, bytes]) -> None:
    mine = contents(path)
    assert mine.keys() == unbroken.keys()
    assert [name for name in mine if mine[name] != unbroken[name]] == []
    report = verify(path)
    assert report.ok, report.problems


def test_many_kills_leave_no_trace(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    died, seed = 0, 0
    while died < 20:
        path = create(experiment(), tmp_path)
        died += killed_until_done(path, 20, seed)
        seed += 1
        assert_unbroken(path, unbroken)


def test_many_kills_of_a_flow_leave_no_trace(tmp_path: Path) -> None:
    whole = start(flow(), tmp_path / "unbroken")
    times = whole.series("time/T1")
    assert np.isnan(times.values[:, 0]).all() and np.isfinite(times.values[:, -1]).all()
    died, seed = 0, 500
    while died < 10:
        path = create(flow(), tmp_path)
        died += killed_until_done(path, 10, seed)
        seed += 1
        assert_unbroken(path, contents(whole.path))


def filmed(**changes: object) -> Experiment:
    """Two members that leap under the microscope, whose memory goes back two rescues or more."""
    checkpoints = {"every": 40, "rescue": 10, "microscope": {"frames": 24}}
    engine = {"workers": 1, "chunk": 1, "precision": "float64"}
    return falling(**{"seeds": 2, "checkpoints": checkpoints, "engine": engine, **changes})


FLOWING = {"optimizer": {"kind": "gradient-flow", "duration": 36.0, "rtol": 1e-4, "atol": 1e-8}}


@pytest.mark.parametrize("changes", [{}, FLOWING], ids=["descent", "gradient flow"])
def test_many_kills_under_the_microscope_leave_no_trace(
    parts: None, tmp_path: Path, changes: dict[str, object]
) -> None:
    whole = start(filmed(**changes), tmp_path / "unbroken")
    assert len(whole.frames(0)) > 24 < len(whole.frames(1))
    expected = contents(whole.path)
    died, seed = 0, 900
    while died < 10:
        path = create(filmed(**changes), tmp_path)
        died += killed_until_done(path, 10, seed)
        seed += 1
        assert_unbroken(path, expected)


@pytest.mark.parametrize("at", [3, 23, 41, 57, 69, 88, 119])
def test_stopped_before_in_and_after_the_leap(parts: None, tmp_path: Path, at: int) -> None:
    expected = contents(start(filmed(seeds=1), tmp_path / "unbroken").path)

    class Enough(Exception):
        pass

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step >= at:
            raise Enough

    path = create(filmed(seeds=1), tmp_path)
    with pytest.raises(Enough):
        resume(path, stop)
    assert verify(path).ok
    resume(path)
    assert_unbroken(path, expected)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_checkpoints_under_the_microscope_are_passed_over(
    parts: None, tmp_path: Path, lost: int
) -> None:
    """Also where those are gone that memory goes back to: then it goes back to the start."""
    expected = contents(start(filmed(seeds=1), tmp_path / "unbroken").path)

    class Enough(Exception):
        pass

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step == 75:
            raise Enough

    path = create(filmed(seeds=1), tmp_path)
    with pytest.raises(Enough):
        resume(path, stop)
    files = sorted((path / "shards" / "000" / "checkpoints").glob("*.safetensors"))
    # 70 and 60 are the newest two, and who resumes at 60 goes back to 36 or before; 40 is kept.
    assert [int(file.stem[-3:]) for file in files] == [0, 30, 40, 50, 60, 70]
    for file in files[-lost:]:
        file.unlink()
    resume(path)
    assert_unbroken(path, expected)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in KINDS:
        monkeypatch.setitem(part.registry, part.model_fields["kind"].default, part)


@pytest.mark.torture
def test_torture(tmp_path: Path, unbroken: dict[str, bytes], record_property) -> None:
    wanted, died, seed = int(os.environ.get("SALTUS_TORTURE_COUNT", "200")), 0, 1000
    while died < wanted:
        path = create(experiment(), tmp_path)
        died += killed_until_done(path, min(20, wanted - died), seed)
        seed += 1
        assert_unbroken(path, unbroken)
    row = (
        f"| SIGKILL at a random instant of training, resumed, again and again | {died:,} | every "
        f"file of every run equals the unbroken run's | {seed - 1000:,} of {seed - 1000:,} runs |"
    )
    record_property("torture", f"\t{row}")


def interrupted(tmp_path: Path) -> Path:
    """A run that stopped at step 75 or so, with a torn line of work behind it."""
    path = create(experiment(), tmp_path)

    class Enough(Exception):
        pass

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step >= 75:
            raise Enough

    with pytest.raises(Enough):
        resume(path, stop)
    return path


def test_a_truncated_metrics_file_is_mended(tmp_path, unbroken) -> None:
    path = interrupted(tmp_path)
    log = path / "shards" / "000" / "metrics.log"
    os.truncate(log, log.stat().st_size - 5)
    resume(path)
    assert_unbroken(path, unbroken)


def test_a_truncated_checkpoint_is_passed_over(tmp_path, unbroken) -> None:
    path = interrupted(tmp_path)
    newest = max((path / "shards" / "000" / "checkpoints").glob("*.safetensors"))
    os.truncate(newest, newest.stat().st_size // 2)
    resume(path)
    assert_unbroken(path, unbroken)


def test_a_second_process_on_a_run_is_refused_and_does_no_harm(tmp_path, unbroken) -> None:
    path = interrupted(tmp_path)
    with RunWriter(path), pytest.raises(SaltusError) as caught:
        resume(path)
    assert str(os.getpid()) in str(caught.value) and "\n" not in str(caught.value)
    resume(path)
    assert_unbroken(path, unbroken)


def test_a_full_disk_stops_the_run_with_one_line_and_loses_nothing(
    tmp_path, unbroken, monkeypatch
) -> None:
    path = create(experiment(), tmp_path)
    real, left = os.write, [40]

    def write(file: int, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(file, data)

    with monkeypatch.context() as patch, pytest.raises(SaltusError) as caught:
        patch.setattr(os, "write", write)
        resume(path)
    assert "disk full" in str(caught.value) and "saltus resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    resume(path)
    assert_unbroken(path, unbroken)


def test_workers_die_with_their_parent_and_the_run_resumes(tmp_path, unbroken) -> None:
    path = create(experiment().override({"engine.workers": 2}), tmp_path)
    script = tmp_path / "go.py"
    script.write_text(
        "from saltus.training.launch import resume\n"
        f"if __name__ == '__main__':\n    resume({str(path)!r})\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    while parent.poll() is None and not any(shard.step for shard in open_run(path).shards):
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    resume(path)  # waits for a dying worker's lock, and is refused if one lives on
    mine = contents(path)
    # Chains and logs differ, for they begin with the experiment, which names its workers.
    for name, data in unbroken.items():
        if name.endswith(".safetensors"):
            assert mine[name] == data
    assert verify(path).ok
