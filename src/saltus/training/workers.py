"""Worker processes that stay: several runs share them, shard by shard.

Each worker has a pipe of its own, so that one that dies, however it dies, takes nothing with it
but the shard it was training, and that shard resumes from its files.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from saltus import kernels
from saltus.errors import SaltusError

# (shard index, step reached, mean loss, members that have leapt)
Progress = Callable[[int, int, float, int], None]
# Trains one shard of the run at a path, in the worker.
Train = Callable[[str, int, Progress], None]


class Stopped(SaltusError):
    """The pool was closed, not the run at fault."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: stopped; nothing is lost: saltus resume {path}")


@dataclass(eq=False)
class Order:
    """The shards of one run that somebody waits for."""

    path: str
    progress: Progress | None
    left: set[int]
    error: BaseException | None = None
    finished: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
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

    One thread, the dispatcher, owns the processes, gives out shards and hears what becomes of them.
    Whatever happens to it, those who wait in `train` are told.
    """

    def __init__(self, count: int, work: Train) -> None:
        self.count, self.work = count, work
        self.workers: list[Worker] = []
        # The lock is for these three; what is written to `ring` wakes the dispatcher.
        self.lock = threading.Lock()
        self.queue: deque[tuple[Order, int]] = deque()
        self.closed = False
        self.bell, self.ring = multiprocessing.Pipe(duplex=False)
        self.dispatcher = threading.Thread(target=self._dispatch, daemon=True)
        self.dispatcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def train(self, path: str, shards: Sequence[int], progress: Progress | None = None) -> None:
        """Train some shards of a run and wait for them.

        The first that fails stops the others and raises SaltusError, as does `close` meanwhile
        (`Stopped`). `progress` is called in another thread; what it raises is raised here.
        """
        if not shards:
            return
        order = Order(path, progress, set(shards))
        with self.lock:
            if self.closed:
                raise Stopped(path)
            self.queue.extend((order, shard) for shard in shards)
            self.ring.send(None)
        while not order.finished.wait(0.5):  # in pieces, so that Ctrl-C is heard
            pass
        if order.error is not None:
            raise order.error

    def close(self) -> None:
        """Stop all workers where they are; runs can be resumed."""
        with self.lock:
            if not self.closed:
                self.closed = True
                self.ring.send(None)
        self.dispatcher.join()

    def _dispatch(self) -> None:
        problem: BaseException | None = None
        try:
            while not self.closed:
                self._assign()
                self._listen()
        except BaseException as error:  # a mistake of ours: nobody may wait for ever
            problem = error
        with self.lock:
            self.closed = True
            left = {order for order, _ in self.queue}
            self.queue.clear()
            self.bell.close()
            self.ring.close()
        left |= {worker.order for worker in self.workers if worker.order is not None}
        self._stop(self.workers)
        for order in left:
            order.error = order.error or problem or Stopped(order.path)
            order.finished.set()

    def _assign(self) -> None:
        """Give waiting shards to idle workers, starting what is missing."""
        while self.queue:
            idle = next((worker for worker in self.workers if worker.order is None), None)
            if idle is None:
                if len(self.workers) >= self.count:
                    return
                try:
                    idle = self._start()
                except OSError as error:
                    if self.workers:
                        return  # fewer must do
                    order, _ = self.queue[0]
                    reason = (error.strerror or str(error)).lower()
                    self._end(order, SaltusError(f"{order.path}: no worker started: {reason}"))
                    continue
                self.workers.append(idle)
            order, shard = self.queue[0]
            try:
                idle.pipe.send((order.path, shard))
            except OSError:  # it died while it was idle: another takes the shard
                self._stop([idle])
                continue
            idle.order, idle.shard = order, shard
            with self.lock:
                self.queue.popleft()

    def _listen(self) -> None:
        """Wait for news, and act on it."""
        workers = {worker.pipe: worker for worker in self.workers}
        for ready in wait([self.bell, *workers]):
            if ready is self.bell:
                self.bell.recv()
            # What one worker has said may have stopped another.
            elif (worker := workers[ready]) in self.workers:  # type: ignore[index]
                self._hear(worker)

    def _start(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        own = (theirs, self.work, os.getpid(), kernels.describe())
        process = context.Process(target=serve, args=own, daemon=True)
        # A worker inherits what is blocked: it never hears Ctrl-C, not even while it imports. The
        # tracker is started first because its start would unblock the signal.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Worker(process, ours)

    def _hear(self, worker: Worker) -> None:
        order = worker.order
        try:
            kind, *rest = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            how = manner(worker.process.exitcode)
            self._stop([worker])
            if order is not None:
                text = f"a worker of {order.path} {how}; nothing is lost: saltus resume"
                self._end(order, SaltusError(f"{text} {order.path}"))
            return
        assert order is not None  # the idle say nothing
        if kind == "progress":
            if order.progress is not None:
                try:
                    order.progress(worker.shard, *rest)
                except BaseException as error:  # for those who gave it to us
                    self._end(order, error)
            return
        worker.order = None
        if kind == "failed":
            self._end(order, SaltusError(rest[0]))
            return
        order.left.discard(worker.shard)
        if not order.left:
            order.finished.set()

    def _end(self, order: Order, error: BaseException) -> None:
        """The first failure of a run ends all its shards."""
        with self.lock:
            self.queue = deque(item for item in self.queue if item[0] is not order)
        self._stop([worker for worker in self.workers if worker.order is order])
        order.error = error
        order.finished.set()

    def _stop(self, workers: Iterable[Worker]) -> None:
        """End some processes at once: wherever that is, their shards can be resumed."""
        ending = list(workers)
        self.workers = [worker for worker in self.workers if worker not in ending]
        for worker in ending:
            worker.process.kill()
        for worker in ending:
            worker.process.join()
            worker.pipe.close()


def manner(code: int) -> str:
    """How a process with this exit code ended: 'died (exit 1)', 'was killed (SIGKILL)'."""
    if code >= 0:
        return f"died (exit {code})"
    with suppress(ValueError):
        return f"was killed ({signal.Signals(-code).name})"
    return f"was killed (signal {-code})"


def serve(pipe: Connection, work: Train, parent: int, products: str) -> None:
    """A worker's life: take a shard, train it, say so; until the other end of the pipe is gone."""
    die_with(parent)
    with kernels.as_begun(products), suppress(EOFError, OSError):
        if kernels.describe() != products:  # it could not compile them, say: bits would differ
            work = refuse
        while True:
            path, shard = pipe.recv()
            pipe.send(outcome(pipe, work, path, shard))


def refuse(path: str, *_: object) -> None:
    """What a worker does that would give its seeds other bits than others give theirs."""
    raise SaltusError(
        f"{path}: a worker computes products by {kernels.describe()}, and those beside it do not; "
        "allowed: the same for all, for one SALTUS_KERNELS=off"
    )


def outcome(pipe: Connection, work: Train, path: str, shard: int) -> tuple[str, ...]:
    """Train a shard, telling of the progress; what to say at the end."""
    try:
        work(path, shard, lambda _, *news: pipe.send(("progress", *news)))
    except SaltusError as error:
        return "failed", str(error)
    except Exception as error:
        return "failed", f"{path}: {type(error).__name__}: {error}"
    return ("done",)


def die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
