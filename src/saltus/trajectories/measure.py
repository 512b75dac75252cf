"""One pass over a series: every byte of every checkpoint is read once, a piece at a time.

The order of the loops is tensor, piece, checkpoint: only one piece of two checkpoints and their
last step are in memory, and stay in the processor's cache. Sums are taken in float64, in which the
products of float32 numbers are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np
import torch

from saltus.errors import SaltusError
from saltus.threads import one_thread
from saltus.trajectories.naming import Parameter, parameters_of
from saltus.trajectories.series import Series
from saltus.trajectories.signature import LENGTH, Signs
from saltus.trajectories.tensors import Entry, Reader
from saltus.trajectories.trajectory import Trajectory

PIECE = 1 << 17  # numbers read at once: a megabyte as float64


def analyse(series: Series, *, told: Callable[[int, int], None] | None = None) -> Trajectory:
    """The sums of `series`; `told(bytes read, bytes in all)` is called after each tensor.

    Memory is a few megabytes, whatever the size of the checkpoints. Raises SaltusError where no
    checkpoint can be read.
    """
    if not series.checkpoints:
        raise SaltusError(f"no checkpoint can be read: {series.damaged[0].reason}")
    began = perf_counter()
    first = series.checkpoints[0].entries
    parameters = parameters_of({name: first[name].shape for name in series.names})
    sums = Sums(parameters, len(series.checkpoints))
    total = sum(first[each.name].nbytes for each in parameters) * len(series.checkpoints)
    capacity = max([PIECE, *(each.shape[-1] for each in parameters if each.columns)]) + LENGTH
    with Reader(capacity) as reader, one_thread():
        work = torch.empty(6, capacity, dtype=torch.float64)
        for row, parameter in enumerate(parameters):
            entries = [each.entries[parameter.name] for each in series.checkpoints]
            columns = np.zeros((len(entries), parameter.columns))
            for start, count in _pieces(parameter):
                _measure(reader, entries, parameter, start, count, work, sums, row, columns)
            sums.column_norms[row] = np.sqrt(columns).sum(-1)
            if told is not None:
                told(reader.bytes_read, total)
    return Trajectory(
        checkpoints=tuple(each.name for each in series.checkpoints),
        steps=series.steps,
        numbered=series.numbered,
        stated=tuple(each.stated for each in series.checkpoints),
        damaged=series.damaged,
        parameters=parameters,
        squares=sums.squares,
        products=sums.products,
        step_squares=sums.step_squares,
        turns=sums.turns,
        column_norms=sums.column_norms,
        zeros=sums.zeros,
        not_finite=sums.not_finite,
        signatures=sums.signatures,
        bytes_read=reader.bytes_read,
        seconds=perf_counter() - began,
    )


class Sums:
    """What a pass fills, see Trajectory."""

    def __init__(self, parameters: tuple[Parameter, ...], checkpoints: int) -> None:
        rows, steps = len(parameters), checkpoints - 1
        self.squares = np.zeros((rows, checkpoints))
        self.products = np.zeros((rows, steps))
        self.step_squares = np.zeros((rows, steps))
        self.turns = np.zeros((rows, max(steps - 1, 0)))
        self.column_norms = np.zeros((rows, checkpoints))
        self.zeros = np.zeros((rows, checkpoints), dtype=np.int64)
        self.not_finite = np.zeros((rows, checkpoints), dtype=np.int64)
        self.signatures = np.zeros((checkpoints, LENGTH))


def _pieces(parameter: Parameter) -> Iterator[tuple[int, int]]:
    """(first number, how many): whole rows of a linear map, so that its columns can be summed."""
    row = parameter.shape[-1] if parameter.columns else 1
    length = max(1, PIECE // row) * row
    for start in range(0, parameter.numel, length):
        yield start, min(length, parameter.numel - start)


def _measure(
    reader: Reader,
    entries: list[Entry],
    parameter: Parameter,
    start: int,
    count: int,
    work: torch.Tensor,
    sums: Sums,
    row: int,
    columns: np.ndarray,
) -> None:
    """Add one piece of one tensor, of all checkpoints, to the sums."""
    now, before, step, last_step = (each[:count] for each in work[:4])
    spare, padded = work[4][:count], work[5]
    project = Signs(parameter.name, start, count).project
    width = parameter.shape[-1] if parameter.columns else 0
    for t, entry in enumerate(entries):
        sums.zeros[row, t] += reader.read(entry, start, now)
        if parameter.columns:
            matrix = torch.mul(now, now, out=spare).view(-1, width)
            if parameter.transposed:  # [in, out]: an input's column is a row here
                at = start // width
                found = columns[t, at : at + len(matrix)] = matrix.sum(1).numpy()
            else:
                found = matrix.sum(0).numpy()
                columns[t] += found
            square = float(found.sum())
        else:
            square = float(torch.dot(now, now))
        sums.squares[row, t] += square
        if not np.isfinite(square):
            sums.not_finite[row, t] += count - int(now.isfinite().sum())
        sums.signatures[t] += project(now, padded).numpy()
        if t > 0:
            torch.sub(now, before, out=step)
            sums.products[row, t - 1] += float(torch.dot(before, step))
            sums.step_squares[row, t - 1] += float(torch.dot(step, step))
        if t > 1:
            sums.turns[row, t - 2] += float(torch.dot(last_step, step))
        now, before, step, last_step = before, now, last_step, step
