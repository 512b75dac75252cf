"""Worker processes that stay: several runs share them, shard by shard.

Each worker has a pipe of its own, so that one that dies, however it dies, takes nothing with it
but the shard it was training, and that shard resumes from its files.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from saltus.errors import SaltusError

# (shard index, step reached, mean loss)
Progress = Callable[[int, int, float], None]
# Trains one shard of the run at a path, in the worker.
Train = Callable[[str, int, Progress], None]


@dataclass
class Order:
    """The shards of one run that somebody waits for."""

    path: str
    progress: Progress | None
    left: set[int]
    failure: str | None = None
    finished: threading.Event = field(default_factory=threading.Event)


@dataclass
class Worker:
    """One process; `order` and `shard` are what it is at, if anything."""

    process: Any
    pipe: Connection
    order: Order | None = None
    shard: int = -1


class Workers:
    """A pool of `count` processes; a context manager. `train` may be called from many threads.

    Processes start when there is work for them. `work` is what a worker does with a shard; it must
    be importable by name.
    """

    def __init__(self, count: int, work: Train) -> None:
        self.count, self.work = count, work
        self.workers: list[Worker] = []
        self.queue: deque[tuple[Order, int]] = deque()
        self.lock = threading.Lock()
        self.closed = False
        # What is written here wakes the dispatcher.
        self.bell, self.ring = multiprocessing.Pipe(duplex=False)
        self.dispatcher = threading.Thread(target=self._dispatch, daemon=True)
        self.dispatcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def train(self, path: str, shards: Sequence[int], progress: Progress | None = None) -> None:
        """Train some shards of a run and wait for them; SaltusError at the first that fails."""
        order = Order(path, progress, set(shards))
        with self.lock:
            if self.closed:
                raise SaltusError(f"{path}: stopped; nothing is lost: saltus resume {path}")
            self.queue.extend((order, shard) for shard in shards)
        self.ring.send(None)
        while not order.finished.wait(0.5):  # in pieces, so that Ctrl-C is heard
            pass
        if order.failure is not None:
            raise SaltusError(order.failure)

    def close(self) -> None:
        """Stop all workers where they are; runs can be resumed."""
        with self.lock:
            self.closed = True
        self.ring.send(None)
        self.dispatcher.join()

    def _dispatch(self) -> None:
        while True:
            with self.lock:
                closed = self.closed
            if closed:
                break
            self._assign()
            busy = {worker.pipe: worker for worker in self.workers if worker.order is not None}
            for ready in wait([self.bell, *busy]):
                if ready is self.bell:
                    self.bell.recv()
                else:
                    self._hear(busy[ready])  # type: ignore[index]
        for worker in self.workers:
            self._stop(worker, "stopped")
        while self.queue:
            order, _ = self.queue.popleft()
            self._fail(order, f"{order.path}: stopped; nothing is lost: saltus resume {order.path}")

    def _assign(self) -> None:
        """Give waiting shards to idle workers, starting what is missing."""
        while self.queue:
            idle = next((worker for worker in self.workers if worker.order is None), None)
            if idle is None:
                if len(self.workers) >= self.count:
                    return
                idle = self._start()
                self.workers.append(idle)
            with self.lock:
                idle.order, idle.shard = self.queue.popleft()
            idle.pipe.send((idle.order.path, idle.shard))

    def _start(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.work, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours)

    def _hear(self, worker: Worker) -> None:
        order = worker.order
        assert order is not None
        try:
            kind, *rest = worker.pipe.recv()
        except (EOFError, OSError):  # it died
            worker.process.join()
            how = f"exit {worker.process.exitcode}"
            text = f"a worker of {order.path} died ({how}); nothing is lost: saltus resume"
            self.workers.remove(worker)
            self._fail(order, f"{text} {order.path}")
            return
        if kind == "progress":
            if order.progress is not None:
                order.progress(worker.shard, *rest)
            return
        worker.order = None
        if kind == "failed":
            self._fail(order, rest[0])
            return
        order.left.discard(worker.shard)
        if not order.left:
            order.finished.set()

    def _fail(self, order: Order, failure: str) -> None:
        """The first failure of a run ends all its shards."""
        if order.failure is None:
            order.failure = failure
        with self.lock:
            self.queue = deque(item for item in self.queue if item[0] is not order)
        for worker in [worker for worker in self.workers if worker.order is order]:
            self._stop(worker, failure)
        order.finished.set()

    def _stop(self, worker: Worker, why: str) -> None:
        worker.process.terminate()
        worker.process.join()
        worker.pipe.close()
        self.workers = [each for each in self.workers if each is not worker]
        if worker.order is not None and worker.order.failure is None:
            worker.order.failure = why
            worker.order.finished.set()


def serve(pipe: Connection, work: Train, parent: int) -> None:
    """A worker's life: take a shard, train it, say so."""
    from saltus.training.launch import die_with, keep_freed_memory, use_one_thread

    die_with(parent)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    use_one_thread()
    while True:
        try:
            path, shard = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            work(path, shard, lambda _, step, loss: pipe.send(("progress", step, loss)))
            pipe.send(("done",))
        except SaltusError as error:
            pipe.send(("failed", str(error)))
        except Exception as error:
            pipe.send(("failed", f"{type(error).__name__}: {error}"))
