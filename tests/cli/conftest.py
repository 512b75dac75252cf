"""A tiny experiment, a finished run of it, and the front door without a new process."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saltus.cli import main
from saltus.cli.progress import Board
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.training.launch import start

TINY = """\
name: tiny
task: {kind: moving-window-sum, length: 4, alphabet: 4, modulus: 5}
model: {kind: decoder, width: 8}
optimizer: {kind: adam, learning_rate: 1e-2}
instruments: [{kind: evaluation, cadence: 2}, {kind: attention-map, cadence: 3}]
steps: 6
batch: 4
evaluation_batch: 4
seeds: 2
checkpoints: {rescue: 3}
engine: {workers: 1}
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document it must be."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


Saltus = Callable[..., Outcome]


@pytest.fixture
def saltus(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch) -> Saltus:
    """Run a command in an empty directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err  # this is no terminal
        return Outcome(code, captured.out, captured.err)

    return command


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny experiment as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny experiment; copy it before changing it."""
    return start(Experiment.from_yaml(TINY), tmp_path_factory.mktemp("finished")).path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run at runs/tiny of the test's directory."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "tiny"))


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Change one bit near the end of a file."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[-40] ^= 1
        path.write_bytes(data)

    return change


@pytest.fixture
def ctrl_c(monkeypatch) -> Callable[[str, int], AbstractContextManager[None]]:
    """Within `with ctrl_c(label, step)` this process gets SIGINT when a training is that far."""

    @contextmanager
    def press(label: str, step: int) -> Iterator[None]:
        original = Board.begin

        def begin(board: Board, name: str, run: Run, how: str) -> Callable[..., None]:
            progress = original(board, name, run, how)

            def report(shard: int, reached: int, loss: float, leapt: int) -> None:
                progress(shard, reached, loss, leapt)
                if name == label and reached == step:
                    os.kill(os.getpid(), signal.SIGINT)

            return report

        # Started in the background by a shell, a process ignores SIGINT, and so would this one.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Board, "begin", begin)
                yield
        finally:
            signal.signal(signal.SIGINT, before)

    return press
