"""What a pass over a series of checkpoints measured: sums per tensor, and what follows from them.

Everything of the norm-growth paper that weights alone can tell (2010.09697; section 5 of our spec,
M1 to M10) is a function of a few sums per tensor and checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from saltus.errors import SaltusError, unknown
from saltus.trajectories.course import Course
from saltus.trajectories.naming import Parameter
from saltus.trajectories.series import Damaged


@dataclass(frozen=True)
class Trajectory:
    """The sums of one pass; P tensors, C checkpoints, all float64 unless said.

    squares [P, C]: ‖θ_t‖². products [P, C-1]: θ_tᵀδ_t with δ_t = θ_{t+1} - θ_t between neighbouring
    checkpoints. step_squares [P, C-1]: ‖δ_t‖². turns [P, C-2]: δ_tᵀδ_{t+1}. column_norms [P, C]:
    the sum of the norms of a linear map's input columns (0 for other tensors). zeros, not_finite
    [P, C]: how many numbers are exactly 0, how many NaN or infinite (int64). signatures [C, S]: a
    fixed random projection of all parameters, whose distances are those of the checkpoints to a
    few per cent; equal weights have equal ones.
    """

    checkpoints: tuple[str, ...]
    steps: np.ndarray  # int64 [C]
    numbered: bool  # steps are those in the names, not positions
    stated: tuple[int | None, ...]  # the steps that the files themselves state
    damaged: tuple[Damaged, ...]
    parameters: tuple[Parameter, ...]
    squares: np.ndarray
    products: np.ndarray
    step_squares: np.ndarray
    turns: np.ndarray
    column_norms: np.ndarray
    zeros: np.ndarray
    not_finite: np.ndarray
    signatures: np.ndarray
    bytes_read: int
    seconds: float

    def course(self, *wanted: str) -> Course:
        """The course of the tensors in any of these roles, groups (or heads of groups, as
        `attention`), blocks or names; of all learned ones where none is given.

        SaltusError for one that no tensor has.
        """
        if not wanted:
            return self.total
        rows = np.zeros(len(self.parameters), dtype=bool)
        for each in wanted:
            found = np.array([_fits(parameter, each) for parameter in self.parameters])
            if not found.any():
                raise SaltusError(f"parameters: {unknown('group', each, self._words)}")
            rows |= found
        return self._course(rows)

    @property
    def total(self) -> Course:
        """M2: all learned parameters, embeddings included."""
        return self._course(np.ones(len(self.parameters), dtype=bool))

    @property
    def encoder(self) -> Course:
        """M1, the paper's: all of one dimension or more but embeddings, positions, readout."""
        return self._course(self._encoder)

    @property
    def blocks(self) -> Mapping[str, Course]:
        """M4: M1 of each block by its index ("0", or "encoder.0" in models of two stacks)."""
        return self._by([parameter.block for parameter in self.parameters], self._encoder)

    @property
    def groups(self) -> Mapping[str, Course]:
        """Each group of learned parameters, in the order in which the model has them."""
        everywhere = np.ones(len(self.parameters), dtype=bool)
        return self._by([parameter.group for parameter in self.parameters], everywhere)

    @property
    def mean_column_norm(self) -> np.ndarray:
        """M3 [C]: the mean norm over all input columns of all linear maps, readout included; NaN
        without linear maps. A readout tied to the embedding counts as the embedding it is."""
        columns = sum(parameter.columns for parameter in self.parameters)
        total = self.column_norms.sum(0)
        return total / columns if columns else np.full(len(self.steps), np.nan)

    @property
    def least_rms(self) -> np.ndarray:
        """M5 [C]: the least ‖W‖ / √numel over matrices; NaN without matrices."""
        rows = [i for i, each in enumerate(self.parameters) if len(each.shape) == 2]
        if not rows:
            return np.full(len(self.steps), np.nan)
        numbers = np.array([[self.parameters[i].numel] for i in rows])
        return np.sqrt(self.squares[rows] / numbers).min(0)

    @cached_property
    def distances(self) -> np.ndarray:
        """[C, C]: ‖θ_i - θ_j‖; exact for neighbours and second neighbours, the others from the
        signatures, with a standard error near 2 %. NaN beside what is not finite."""
        # One after another: S is small, but C² S numbers would not be for long series.
        signatures = self.signatures
        with np.errstate(invalid="ignore"):  # what is not finite is NaN here
            found = np.array([np.linalg.norm(signatures - each, axis=1) for each in signatures])
            near = self.step_squares.sum(0)
            second = near[:-1] + near[1:] + 2 * self.turns.sum(0)
        for offset, squares in ((1, near), (2, second)):
            exact = np.sqrt(np.maximum(squares, 0.0))
            index = np.arange(len(exact))
            found[index, index + offset] = found[index + offset, index] = exact
        return found

    @cached_property
    def _encoder(self) -> np.ndarray:
        return np.array(
            [each.role == "encoder" and len(each.shape) > 0 for each in self.parameters]
        )

    @property
    def _words(self) -> set[str]:
        words = {word for each in self.parameters for word in (each.role, each.group, each.block)}
        return {word for word in words if word}

    def _by(self, keys: list[str | None], rows: np.ndarray) -> dict[str, Course]:
        named = dict.fromkeys(key for key, row in zip(keys, rows, strict=True) if row and key)
        of = np.array(keys, dtype=object)
        return {key: self._course(rows & (of == key)) for key in named}

    def _course(self, rows: np.ndarray) -> Course:
        sums = (self.squares, self.products, self.step_squares, self.turns)
        with np.errstate(invalid="ignore"):
            return Course.of(*(each[rows].sum(0) for each in sums))


def _fits(parameter: Parameter, wanted: str) -> bool:
    exact = wanted in (parameter.role, parameter.block, parameter.name)
    return exact or f"{parameter.group}.".startswith(f"{wanted}.")
