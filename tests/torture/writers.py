"""Two processes that want to write the same run."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from row import Row
from victim import contents, copied, differences, experiment, finished, interrupted

import saltus.cli.app  # noqa: F401 - so that the processes need not
import saltus.training.launch as launch
from saltus.cli import main

ONE = "exactly one trains; the other has nothing left to do or gets one line; same files in the end"


def faults(root: Path, count: int) -> Iterator[Row]:
    """All faults of this file, a quarter of `count` times."""
    times = max(1, count // 4)
    yield together(root / "together", times, "at the same instant", 0.0)
    yield together(root / "later", times, "the second at a random instant of the first", 0.3)


def together(root: Path, count: int, when: str, longest: float) -> Row:
    """Two `saltus resume` of one interrupted run."""
    row = Row(f"two processes `saltus resume` the same run, {when}", ONE)
    expected = contents(finished(root / "unbroken", experiment()))
    path, chance = interrupted(root, experiment()), random.Random(when)
    refused = 0
    for number in range(count):
        run = copied(path, root / str(number) / path.name)
        trained, told = os.pipe()
        go, start = os.pipe()
        outputs = [root / f"{number}-{which}.txt" for which in range(2)]
        delays = (0.0, chance.uniform(0, longest))
        slow = number % 3 == 0  # longer than the other waits for the lock
        children = [
            _child(run, output, delay, slow, told, go, start)
            for output, delay in zip(outputs, delays, strict=True)
        ]
        os.close(told)
        os.close(go)
        os.close(start)  # the last copy: both hear the end of the pipe at once
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        with os.fdopen(trained) as said:
            who = said.read().split()
        refused += any(codes)
        row.count(*_judged(who, codes, outputs), *differences(run, expected))
    row.remark = f"{refused} times one was refused"
    return row


def _judged(who: list[str], codes: list[int], outputs: list[Path]) -> list[str]:
    refused = re.compile(r"^saltus: .* is being written by process \d+: .*$", re.MULTILINE)
    wrong = [] if len(who) == 1 else [f"{len(who)} trainings of the one shard that was left"]
    for code, output in zip(codes, outputs, strict=True):
        said = output.read_text()
        if code != 0 and not (code in (1, 2) and refused.search(said) and "Traceback" not in said):
            wrong.append(f"exit code {code}: {said[-500:]}")
    if 0 not in codes:
        wrong.append("both were refused")
    return wrong


def _child(
    run: Path, output: Path, delay: float, slow: bool, told: int, go: int, start: int
) -> int:
    """A process that begins `delay` seconds after the end of the pipe `go`: its number."""
    child = os.fork()
    if child:
        return child
    code = 9
    try:
        os.close(start)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        train = launch.train

        def telling(*arguments: object) -> None:
            os.write(told, f"{os.getpid()}\n".encode())
            time.sleep(0.8 * slow)
            train(*arguments)  # type: ignore[arg-type]

        launch.train = telling
        os.read(go, 1)
        time.sleep(delay)
        code = main(["resume", str(run)])
    finally:
        os._exit(code)
