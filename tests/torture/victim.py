"""The trainings that are tortured, and what their files must hold in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import RunWriter, open_run, verify
from saltus.training.launch import create, resume, start

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers that all tests share
from training.leaping import falling, register

STEPS = 24
STOP = 18  # where an interrupted run stops: behind the checkpoint of step 16
CLOCKS = ("lock", "status.json", "provenance.json", "manifest.json")


def experiment(first_seed: int = 0, **changes: object) -> Experiment:
    """A decoder on moving-window sums: two seeds, each a shard of its own."""
    fields = {
        "task": {"kind": "moving-window-sum", "length": 4, "alphabet": 4, "modulus": 5},
        "model": {"kind": "decoder", "width": 8, "heads": 2, "depth": 1},
        "optimizer": {"kind": "adamw", "learning_rate": 1e-2},
        "instruments": [
            {"kind": "evaluation", "cadence": 4},
            {"kind": "attention-map", "cadence": 8},
        ],
        "steps": STEPS,
        "batch": 8,
        "evaluation_batch": 16,
        "seeds": [first_seed, first_seed + 1],
        "checkpoints": {"every": 12, "rescue": 4},
        "engine": {"workers": 1, "chunk": 1},
    }
    return Experiment.of({**fields, **changes})


def small() -> Experiment:
    """One seed and few checkpoints, where every single write is to be tried."""
    checkpoints = {"every": 8, "rescue": 4}
    return experiment(seeds=1, steps=12, checkpoints=checkpoints)


def leaps(first_seed: int = 0, seeds: int = 2) -> Experiment:
    """Points in a well, each a shard of its own; they leap at about step 50, under a microscope."""
    register()
    return falling(
        steps=80,
        seeds=list(range(first_seed, first_seed + seeds)),
        instruments=[{"kind": "norms", "cadence": 8}],
        checkpoints={"every": 40, "rescue": 10, "microscope": {"frames": 4}},
        engine={"workers": 1, "chunk": 1},
    )


def finished(root: Path, what: Experiment) -> Path:
    """A run trained from start to end without any fault."""
    return start(what, root).path


def interrupted(root: Path, what: Experiment, at: int = STOP) -> Path:
    """A run whose first shard is done and whose last was killed in step `at`.

    The process kills itself: SIGKILL, so nothing is flushed and nothing cleaned up.
    """
    path = create(what, root)
    last = open_run(path).shards[-1].index

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if shard == last and step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: resume(path, stop)) == -signal.SIGKILL
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a run that does not know the clock or the machine, by its path in the run."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in CLOCKS
    }


def differences(path: Path, expected: dict[str, bytes]) -> list[str]:
    """How a run differs from the unbroken one; what verify has to say against it."""
    mine = contents(path)
    wrong = [f"{name} is missing" for name in expected.keys() - mine.keys()]
    wrong += [f"{name} is left over" for name in mine.keys() - expected.keys()]
    wrong += [
        f"{name} differs" for name in expected.keys() & mine.keys() if mine[name] != expected[name]
    ]
    return wrong + verify(path).problems


def resumed(path: Path, expected: dict[str, bytes]) -> list[str]:
    """Resume a run, and say how it then differs from the unbroken one."""
    try:
        resume(path)
    except SaltusError as error:
        return [f"resume: {error}"]
    return differences(path, expected)


def copied(path: Path, to: Path) -> Path:
    """A copy of a run at `to`, in place of what was there."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(path, to))


def in_child(work: Callable[[], object]) -> int:
    """Do `work` in a forked process: its exit code, or minus the signal that ended it.

    0: done; 2: SaltusError, printed; 3: any other error, with its trace.
    """
    child = os.fork()
    if child == 0:
        code = 3
        try:
            work()
            code = 0
        except SaltusError as error:
            os.write(2, f"saltus: {error}\n".encode())
            code = 2
        except BaseException:
            import traceback

            traceback.print_exc()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def held(path: Path) -> RunWriter:
    """The run, held for writing by this process."""
    return RunWriter(path)


def chance(*seed: object) -> random.Random:
    """A generator of its own for each fault: the same faults at every call."""
    return random.Random(repr(seed))
