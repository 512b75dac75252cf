"""Workers that several runs share: nobody waits for ever, and no process is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from saltus import kernels
from saltus.errors import SaltusError
from saltus.runs import open_run
from saltus.training.launch import create, resume, start, train_in_worker
from saltus.training.workers import Stopped, Worker, Workers, manner
from tiny_experiments import tiny
from training.work import act

LONG = 120  # seconds after which a test that hangs fails


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    """One pool for most tests: it must survive them all."""
    with Workers(2, act) as workers:
        yield workers


@pytest.fixture
def order(tmp_path: Path) -> Callable[[str, str], str]:
    """The path of a run whose shards do what is said."""

    def write(name: str, what: str) -> str:
        (tmp_path / name).write_text(what)
        return str(tmp_path / name)

    return write


@pytest.fixture
def later() -> Iterator[Callable[..., Future[None]]]:
    """`train` in a thread of its own."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda pool, *what: threads.submit(pool.train, *what)


def worker_of(path: str, shard: int) -> int:
    """The process that is at a shard, or was."""
    note = Path(f"{path}-{shard}")
    while not note.exists():
        time.sleep(0.01)
    return int(note.read_text())


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def assert_alive(pool: Workers, path: str) -> None:
    pool.train(path, [0, 1])
    assert pool.dispatcher.is_alive()


def test_runs_share_the_workers_and_every_shard_is_done_once(pool, order, later):
    heard: list[tuple[str, int, int, float]] = []

    def listener(path: str):
        return lambda *news: heard.append((path, *news))

    paths = [order(name, "note") for name in "abc"]
    jobs = [later(pool, path, range(4), listener(path)) for path in paths]
    for job in jobs:
        job.result(LONG)
    assert sorted(heard) == sorted(
        (path, shard, *news) for path in paths for shard in range(4)
        for news in ((0, 0.5, 0), (7, 0.25, 1))
    )  # fmt: skip
    before = {worker_of(path, shard) for path in paths for shard in range(4)}
    assert len(before) <= 2
    again = order("d", "note")
    pool.train(again, range(4))
    assert {worker_of(again, shard) for shard in range(4)} <= {w.process.pid for w in pool.workers}


def test_no_shards_are_done_at_once(pool):
    pool.train("nothing", [])


def test_the_first_failure_ends_a_run_and_leaves_the_others_alone(pool, order, later, tmp_path):
    other, failing = order("other", "wait"), order("failing", "fail")
    job = later(pool, other, [0])
    patient = worker_of(other, 0)
    with pytest.raises(SaltusError) as caught:
        pool.train(failing, range(5))
    assert str(caught.value) == f"{failing}: disk full"
    assert not Path(f"{failing}-1").exists()  # it never began
    assert exists(patient) and not job.done()
    (tmp_path / "other-go").touch()
    job.result(LONG)


def test_two_shards_that_fail_in_one_instant(pool, order):
    failing = order("failing", "fail")
    ready: list[bool] = []

    def hold(*_: object) -> None:
        """Until both have said that they failed, the dispatcher hears nothing more."""
        while not ready:
            busy = [worker.pipe for worker in pool.workers if worker.order is not None]
            if len(busy) == 2 and Path(f"{failing}-0").exists() and Path(f"{failing}-1").exists():
                ready.append(all(pipe.poll(LONG) for pipe in busy))
            else:
                time.sleep(0.01)

    assert_alive(pool, order("first", "note"))  # both workers are there
    with pytest.raises(SaltusError, match="disk full"):
        pool.train(failing, [0, 1], hold)
    assert_alive(pool, order("fine", "note"))


def test_what_a_worker_does_not_expect_is_one_line_with_the_run(pool, order):
    breaking = order("breaking", "break")
    with pytest.raises(SaltusError) as caught:
        pool.train(breaking, [0])
    assert str(caught.value) == rf"{breaking}: KeyError: 'a\nmistake'"


def test_a_killed_worker_is_one_line_and_others_go_on(pool, order, later, tmp_path):
    killed, other = order("killed", "wait"), order("other", "wait")
    jobs = [later(pool, killed, [0]), later(pool, other, [0])]
    victim, patient = worker_of(killed, 0), worker_of(other, 0)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(SaltusError) as caught:
        jobs[0].result(LONG)
    assert str(caught.value) == (
        f"a worker of {killed} was killed (SIGKILL); nothing is lost: saltus resume {killed}"
    )
    assert exists(patient) and not jobs[1].done()
    (tmp_path / "other-go").touch()
    jobs[1].result(LONG)


def test_a_worker_that_exits_says_how(pool, order):
    leaving = order("leaving", "leave")
    with pytest.raises(SaltusError, match=r"a worker of \S+leaving died \(exit 3\); nothing is"):
        pool.train(leaving, [0])


def test_idle_workers_that_die_are_replaced(pool, order):
    assert_alive(pool, order("first", "note"))
    for worker in list(pool.workers):
        worker.process.kill()
    while pool.workers:  # noticed without anybody asking for them
        time.sleep(0.01)
    assert_alive(pool, order("second", "note"))


def test_a_worker_that_died_unnoticed_passes_its_shard_on(pool, order):
    assert_alive(pool, order("first", "note"))
    dead = pool.workers[0]

    class Gone:
        """A pipe whose other end is gone."""

        def send(self, _: object) -> None:
            raise BrokenPipeError

        def __getattr__(self, name: str):
            return getattr(pipe, name)

    pipe, dead.pipe = dead.pipe, Gone()  # type: ignore[assignment]
    assert_alive(pool, order("second", "note"))
    assert dead not in pool.workers


def test_what_progress_raises_is_raised_by_train(pool, order):
    def full(*_: object) -> None:
        raise BrokenPipeError("no more")

    with pytest.raises(BrokenPipeError, match="no more"):
        pool.train(order("loud", "wait"), [0, 1], full)
    assert_alive(pool, order("fine", "note"))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "died (exit 0)"),
        (1, "died (exit 1)"),
        (-signal.SIGSEGV, "was killed (SIGSEGV)"),
        (-40, "was killed (signal 40)"),
    ],
)
def test_how_a_process_ended(code, text):
    assert manner(code) == text


def test_a_worker_that_computes_otherwise_is_refused(order, monkeypatch):
    """Members must not get other bits because one process could not compile the kernels."""
    monkeypatch.setattr(kernels, "describe", lambda: "an abacus")
    with Workers(1, act) as pool, pytest.raises(SaltusError) as told:
        pool.train(order("run", "done"), [0])
    assert "a worker computes products by " in str(told.value)
    assert str(told.value).endswith("allowed: the same for all, for one SALTUS_KERNELS=off")


def test_to_close_stops_everything_at_once(order, later):
    with Workers(2, act) as pool:
        paths = [order("a", "wait"), order("b", "wait")]
        jobs = [later(pool, path, [0, 1]) for path in paths]
        process = worker_of(paths[0], 0)
        pool.close()
        for path, job in zip(paths, jobs, strict=True):
            with pytest.raises(Stopped) as caught:
                job.result(LONG)
            assert str(caught.value) == f"{path}: stopped; nothing is lost: saltus resume {path}"
        assert not exists(process) and not pool.workers
        with pytest.raises(Stopped):
            pool.train(paths[0], [0])
        pool.close()


def test_a_process_that_cannot_start_is_one_line(order, monkeypatch):
    def refuse(self: Workers) -> Worker:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(Workers, "_start", refuse)
    with Workers(2, act) as pool, pytest.raises(SaltusError) as caught:
        pool.train("somewhere", [0, 1])
    assert str(caught.value) == "somewhere: no worker started: resource temporarily unavailable"


def test_a_mistake_of_the_dispatcher_reaches_who_waits(monkeypatch):
    def broken(self: Workers) -> None:
        if self.queue:
            raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Workers, "_assign", broken)
    with Workers(2, act) as pool:
        with pytest.raises(ZeroDivisionError):
            pool.train("somewhere", [0])
        with pytest.raises(Stopped):
            pool.train("somewhere", [0])


def test_a_run_trained_by_a_pool_has_the_bytes_of_one_trained_here(tmp_path):
    experiment = tiny(seeds=4, steps=3, engine={"workers": 1, "chunk": 2})
    here = start(experiment, tmp_path / "here")
    path = create(experiment, tmp_path / "there")
    with Workers(2, train_in_worker) as pool:
        resume(path, None, pool)
        assert resume(path, None, pool).status["state"] == "done"  # nothing is left to do
    assert states(path) == states(here.path)


def states(path: Path) -> dict[str, bytes]:
    """Metrics and checkpoints of a run."""
    files = [*path.glob("shards/*/metrics.log"), *path.glob("shards/*/checkpoints/*")]
    assert len({file.parts[len(path.parts) + 1] for file in files}) == 2  # shards
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


SCRIPT = """
import os, signal, sys
from saltus.cli import main
from saltus.training.workers import Workers

# What a shell starts in the background ignores SIGINT, and what it starts in turn does so too.
signal.signal(signal.SIGINT, signal.default_int_handler)

def start(self):
    worker = original(self)
    if len(self.workers) == 1:  # this is the second: both are importing now
        print(*(each.process.pid for each in [*self.workers, worker]), flush=True)
        os.killpg(0, signal.SIGINT)
    return worker

if __name__ == "__main__":
    original, Workers._start = Workers._start, start
    sys.exit(main(["run", "tiny.yaml"]))
"""


def test_ctrl_c_while_workers_start_is_one_line_and_leaves_no_process(tmp_path):
    """As a terminal does it: every process of the group gets SIGINT."""
    experiment = tiny(seeds=2, engine={"workers": 2, "chunk": 1}, name="tiny")
    (tmp_path / "tiny.yaml").write_text(experiment.to_yaml())
    (tmp_path / "go.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "go.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LONG,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "tiny: training 2 members, 4 steps in runs/tiny",
        "saltus: interrupted; nothing is lost: saltus resume runs/tiny",
    ]
    workers = [int(word) for word in done.stdout.split()]
    assert len(workers) == 2 and not any(map(exists, workers))
    assert open_run(tmp_path / "runs" / "tiny").status["state"] == "new"  # and not locked


def test_workers_of_a_killed_parent_are_gone_and_the_run_resumes(tmp_path):
    experiment = tiny(seeds=2, steps=100_000, instruments=[], engine={"workers": 2, "chunk": 1})
    path = create(experiment, tmp_path)
    script = SCRIPT.replace("os.killpg(0, signal.SIGINT)", "pass")
    script = script.replace("run", "resume").replace("tiny.yaml", str(path))
    (tmp_path / "go.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, "go.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    while any(map(running, workers)):  # the kernel ends them, now or when they ask for it
        time.sleep(0.02)
    assert len(workers) == 2
    assert open_run(path).status["state"] in ("new", "interrupted")


def running(process: int) -> bool:
    """Whether a process exists and is no zombie (that init has not yet buried)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
