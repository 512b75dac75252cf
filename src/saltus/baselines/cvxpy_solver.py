"""The same programs by cvxpy, one matrix at a time: slow, and independent of ours.

The solver is Clarabel, an interior-point method, which closes gaps that first-order methods (SCS,
say) only narrow. The program is compiled once per shape, with matrix and mask as parameters.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.baselines.interior_point import Solved
from saltus.errors import SaltusError

SHARE = 256  # matrices that are worth the seconds in which a process starts
# Asked for less, it ends where flat directions are still 1e-3 away.
ACCURACY = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}


class Answer(NamedTuple):
    """Of one matrix; plain arrays, because they travel between processes."""

    primal: np.ndarray
    dual: np.ndarray
    steps: int


Job = tuple[np.ndarray, np.ndarray, float | None]  # matrix, observed, regularisation


def solve(
    matrices: Float[Tensor, "batch row column"],
    observed: Bool[Tensor, "batch row column"],
    regularisation: float | None,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Solved:
    """Solve every matrix; `matrices` are 0 where missing. `processes` None: as many
    as there are cores, with 256 matrices or more each."""
    import cvxpy  # noqa: F401  what is missing is named before a process starts

    pairs = zip(matrices.cpu().numpy(), observed.cpu().numpy(), strict=True)
    jobs: list[Job] = [(*pair, regularisation) for pair in pairs]
    count = processes or min(_cores(), max(1, len(jobs) // SHARE))
    found: dict[int, Answer] = {}
    count = min(count, len(jobs))
    # Closed at once, whatever comes: a traceback would keep its processes alive.
    with closing(_by_processes(jobs, count) if count > 1 else _here(jobs)) as answers:
        for place, answer in answers:
            found[place] = answer
            if progress is not None:
                progress(1)
    ordered = [found[place] for place in range(len(jobs))]
    primal, dual = (torch.from_numpy(np.stack([each[i] for each in ordered])) for i in (0, 1))
    steps = torch.tensor([each.steps for each in ordered])
    return Solved(*(each.to(matrices.device) for each in (primal, dual, steps)))


def _solved(jobs: list[Job]) -> Iterator[Answer]:
    """One after the other, with one compiled program."""
    import cvxpy

    rows, columns = jobs[0][0].shape
    Z = cvxpy.Variable((rows, columns))
    mask = cvxpy.Parameter((rows, columns), nonneg=True)
    known = cvxpy.Parameter((rows, columns))
    weight = cvxpy.Parameter(nonneg=True)
    norm, miss = cvxpy.norm(Z, "nuc"), cvxpy.multiply(mask, Z) - known
    equal = miss == 0
    exact = cvxpy.Problem(cvxpy.Minimize(norm), [equal])
    regularised = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(miss) + weight * norm))
    for matrix, observed, regularisation in jobs:
        # Squares are summed over |Omega|: both sides of the difference carry its root.
        root = 1.0 if regularisation is None else max(1, observed.sum()) ** -0.5
        mask.value, known.value = observed * root, matrix * root
        weight.value = regularisation or 0.0
        problem = exact if regularisation is None else regularised
        with warnings.catch_warnings():  # how accurate it is, the duality gap says
            warnings.simplefilter("ignore")
            with suppress(cvxpy.SolverError):
                problem.solve(solver=cvxpy.CLARABEL, warm_start=False, **ACCURACY)
        if Z.value is None:
            raise SaltusError(f"cvxpy: Clarabel found no solution; it said '{problem.status}'")
        if regularisation is None:
            dual = -np.asarray(equal.dual_value) * observed
        else:
            dual = (matrix - Z.value) * observed * 2 * root**2 / regularisation
        yield Answer(np.array(Z.value), dual, problem.solver_stats.num_iters or 0)


def _here(jobs: list[Job]) -> Generator[tuple[int, Answer]]:
    yield from enumerate(_solved(jobs))


def _by_processes(jobs: list[Job], count: int) -> Generator[tuple[int, Answer]]:
    """Each process gets every count-th job. However this ends, the processes end with it."""
    with _processes([jobs[first::count] for first in range(count)]) as pipes:
        first = {pipe: place for place, pipe in enumerate(pipes)}
        done = dict.fromkeys(pipes, 0)
        while first:
            for pipe in wait(list(first), 0.5):  # in pieces, so that Ctrl-C is heard
                assert isinstance(pipe, Connection)
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    raise SaltusError("cvxpy: a process died before it was done") from None
                if isinstance(answer, str):
                    raise SaltusError(answer)
                yield first[pipe] + count * done[pipe], answer
                done[pipe] += 1
                if first[pipe] + count * done[pipe] >= len(jobs):
                    del first[pipe]


@contextmanager
def _processes(shares: list[list[Job]]) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    started: list[tuple[Any, Connection]] = []
    # A process inherits what is blocked: it never hears Ctrl-C, not even while it imports. The
    # tracker is started first because its start would unblock the signal.
    resource_tracker.ensure_running()
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, share, os.getpid()), daemon=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
                started.append((process, ours))
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                theirs.close()
        yield [pipe for _, pipe in started]
    finally:
        for process, _ in started:
            process.kill()
        for process, pipe in started:
            process.join()
            pipe.close()


def _work(pipe: Connection, jobs: list[Job], parent: int) -> None:
    """A process's life. It ends when its parent is gone, however that went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            return
    torch.set_num_threads(1)
    with suppress(OSError):
        try:
            for answer in _solved(jobs):
                pipe.send(answer)
        except Exception as error:
            pipe.send(str(error) if isinstance(error, SaltusError) else f"cvxpy: {error!r}")


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
