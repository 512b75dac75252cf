"""What a pass over a series of checkpoints measured: sums per tensor, and what follows from them.

Everything of the norm-growth paper that weights alone can tell (2010.09697; section 5 of our spec,
M1 to M10) is a function of five sums per tensor and pair of neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from saltus.trajectories.series import Damaged


@dataclass(frozen=True)
class Parameter:
    """One tensor of the model and where it belongs.

    `role` is "encoder", "embedding", "readout" or "buffer" (what is kept and not learned: counted
    in no norm). `group` is the vocabulary of `models.groups`: attention.qk, attention.value,
    attention.output, mlp, norm.attention, embeddings.token, …; `block` the index of its layer, with
    its stack in front where there are two ("encoder.3"), None outside the blocks.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    group: str
    block: str | None
    linear: bool  # the weight of a linear map: M3 takes its input columns


@dataclass(frozen=True)
class Path:
    """The way that some of the parameters went, C checkpoints, float64.

    norm [C]: ‖θ_t‖. direction [C-1]: cos(θ_t, θ_{t+1}), M7. alignment [C-1]: cos(δ_t, θ_t) with
    δ_t = θ_{t+1} - θ_t between neighbouring CHECKPOINTS, M8. step [C-1]: ‖δ_t‖, M9. turn [C-2]:
    cos(δ_t, δ_{t+1}). NaN where a norm is zero or a number is not finite.
    """

    norm: np.ndarray
    direction: np.ndarray
    alignment: np.ndarray
    step: np.ndarray
    turn: np.ndarray

    @property
    def accounting(self) -> Accounting:
        """M10 over the whole path."""
        raise NotImplementedError


@dataclass(frozen=True)
class Accounting:
    """M10: ‖θ_T‖² - ‖θ_0‖² = Σ‖δ‖² + 2 Σ θ_tᵀδ_t. `growth` is the left side, `squared_steps` and
    `cross` the two terms of the right one; shares are of the growth (NaN where it is 0)."""

    growth: float
    squared_steps: float
    cross: float

    @property
    def squared_steps_share(self) -> float:
        return self.squared_steps / self.growth if self.growth else float("nan")

    @property
    def cross_share(self) -> float:
        return self.cross / self.growth if self.growth else float("nan")


@dataclass(frozen=True)
class Trajectory:
    """The sums of one pass; P tensors, C checkpoints, all float64.

    squares [P, C]: ‖θ_t‖². products [P, C-1]: θ_tᵀδ_t. step_squares [P, C-1]: ‖δ_t‖².
    turns [P, C-2]: δ_tᵀδ_{t+1}. column_norms [P, C]: the sum of the norms of a linear map's input
    columns (0 for others). not_finite [P, C]: how many NaN and infinities (int64).
    signatures [C, S]: a fixed random projection of all learned parameters, whose distances are
    those of the checkpoints to a few per cent; equal weights have equal ones.
    """

    checkpoints: tuple[str, ...]
    steps: np.ndarray  # int64 [C]
    numbered: bool
    stated: tuple[int | None, ...]
    damaged: tuple[Damaged, ...]
    parameters: tuple[Parameter, ...]
    squares: np.ndarray
    products: np.ndarray
    step_squares: np.ndarray
    turns: np.ndarray
    column_norms: np.ndarray
    not_finite: np.ndarray
    signatures: np.ndarray
    bytes_read: int
    seconds: float

    def path(self, *wanted: str) -> Path:
        """The path of the parameters in any of these roles, groups (or heads of groups:
        `attention`), blocks or names; of all but buffers where none is given (M2)."""
        raise NotImplementedError

    @property
    def total(self) -> Path:
        """M2: all learned parameters."""
        return self.path()

    @property
    def encoder(self) -> Path:
        """M1: all but embeddings, positions, readout, buffers and scalars."""
        raise NotImplementedError

    @property
    def blocks(self) -> Mapping[str, Path]:
        """M4: M1 restricted to each block, in their order."""
        raise NotImplementedError

    @property
    def groups(self) -> Mapping[str, Path]:
        """Each parameter group of the model."""
        raise NotImplementedError

    @property
    def mean_column_norm(self) -> np.ndarray:
        """M3 [C]: the mean norm of all input columns of all linear maps, readout included."""
        raise NotImplementedError

    @property
    def least_rms(self) -> np.ndarray:
        """M5 [C]: the least ‖W‖ / √numel over matrices."""
        raise NotImplementedError

    @property
    def distances(self) -> np.ndarray:
        """[C, C]: ‖θ_i - θ_j‖, exact beside the diagonal, elsewhere from the signatures."""
        raise NotImplementedError
