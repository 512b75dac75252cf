"""Random low-rank matrices with missing entries, as tokens: what matrix tasks share."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Task

MASK = 0  # the token of a missing entry

Factors = Literal["uniform", "gaussian", "laplace", "two-point", "entries"]


class Matrices(NamedTuple):
    """Matrices flattened row by row, and which of their entries are shown."""

    values: Float[Tensor, "*members batch cell"]  # rounded to the tokens' precision
    observed: Bool[Tensor, "*members batch cell"]


class LowRankTask(Task):
    """X = U V^T, U [rows, rank] and V [columns, rank] with independent entries, rounded.

    Sources: 2410.22244, section 2 of our spec. `factors` is the law of the entries of U and V:
    `uniform` on [low, high], `gaussian` of deviation `scale`, `laplace` of scale `scale`,
    `two-point` either low or high (ours); or `entries`, where X itself has independent entries on
    [low, high] and full rank (the paper's control of the copy check). Entries beyond +-limit are
    clipped to it, for want of tokens.

    Each entry is missing with probability `mask_probability`, independently (a row may be missing
    altogether). `missing` fixes their number instead. `hidden_rows` and `hidden_columns` are
    missing in every matrix but for the cells in `shown`; where they are given nothing else is
    missing. With `sizes` every step draws one n of them, and all its matrices are n x n.
    """

    rows: int = Field(default=7, ge=1)
    columns: int = Field(default=7, ge=1)
    rank: int = Field(default=2, ge=1)
    mask_probability: float = Field(default=0.3, ge=0, le=1)
    missing: int | None = Field(default=None, ge=0, description="exact number of missing entries")
    hidden_rows: tuple[int, ...] = ()
    hidden_columns: tuple[int, ...] = ()
    shown: tuple[tuple[int, int], ...] = Field(default=(), description="cells shown all the same")
    factors: Factors = "uniform"
    low: float = -1.0
    high: float = 1.0
    scale: float = Field(default=1.0, gt=0, description="deviation of gaussian, b of laplace")
    sizes: tuple[int, ...] = Field(default=(), description="n of n x n, drawn anew every step")
    decimals: int = Field(default=2, ge=0, le=3)
    limit: int = Field(default=10, ge=1, description="tokens stand for -limit .. limit")

    @model_validator(mode="after")
    def _sizes_fit(self) -> LowRankTask:
        for size in self.sizes:
            if size < 1:
                raise ValueError(f"sizes: {size} is not allowed; at least 1")
        smallest = min(self.sizes or (self.rows, self.columns))
        if self.rank > smallest and self.factors != "entries":
            raise ValueError(f"rank {self.rank} is above the size: at most {smallest} here")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.missing is not None and self.missing > min(self._cells()):
            raise ValueError(f"missing {self.missing} is more than the {min(self._cells())} cells")
        structured = self.hidden_rows or self.hidden_columns
        if self.sizes and structured:
            raise ValueError("hidden_rows and hidden_columns need one size, not a list of sizes")
        if self.shown and not structured:
            raise ValueError("shown needs hidden_rows or hidden_columns to show something of")
        for name, places, size in (
            ("hidden_rows", (*self.hidden_rows, *(i for i, _ in self.shown)), self.rows),
            ("hidden_columns", (*self.hidden_columns, *(j for _, j in self.shown)), self.columns),
        ):
            if outside := [place for place in places if not 0 <= place < size]:
                raise ValueError(f"{name}: {outside[0]} is not in 0 .. {size - 1}")
        return self

    @property
    def grid(self) -> tuple[int, int] | None:
        return None if self.sizes else (self.rows, self.columns)

    @property
    def steady(self) -> bool:
        return not self.sizes

    @property
    def cells(self) -> int:
        """Entries of the largest matrix."""
        return max(self._cells())

    @property
    def variance(self) -> float:
        """Var(X_ij): what the best constant prediction of a missing entry costs."""
        mean = (self.low + self.high) / 2
        spread = (self.high - self.low) ** 2 / (4 if self.factors == "two-point" else 12)
        square = mean**2 + spread
        if self.factors == "entries":
            return spread
        if self.factors in ("uniform", "two-point"):
            return self.rank * (square**2 - mean**4)
        moment = self.scale**2 if self.factors == "gaussian" else 2 * self.scale**2
        return self.rank * moment**2

    @property
    def zero(self) -> int:
        """The token of the value 0; id(x) = zero + 10^decimals x."""
        return self.limit * 10**self.decimals + 1

    def encode(self, values: Float[Tensor, "*cell"]) -> Int[Tensor, "*cell"]:
        """The tokens of some values, rounded to nearest."""
        return (values * 10**self.decimals).round().long() + self.zero

    def decode(self, tokens: Int[Tensor, "*cell"]) -> Float[Tensor, "*cell"]:
        """The values of some tokens; NaN for the mask and whatever else is no number."""
        values = (tokens - self.zero) / 10**self.decimals
        return values.where((tokens > MASK) & (tokens < 2 * self.zero), torch.nan)

    def matrices(self, draws: Draws, batch: int) -> Matrices:
        """Fresh matrices and masks."""
        rows, columns = self._size(draws)
        values = self._values(draws, batch, rows, columns).flatten(-2)
        unit = 10**self.decimals
        rounded = (values * unit).round().clamp(-self.limit * unit, self.limit * unit) / unit
        return Matrices(rounded, self._observed(draws, batch, rows, columns))

    def _cells(self) -> list[int]:
        return [size * size for size in self.sizes] or [self.rows * self.columns]

    def _size(self, draws: Draws) -> tuple[int, int]:
        if not self.sizes:
            return self.rows, self.columns
        # Of the step alone, so that all members of a stack have the same shape.
        chosen = Draws(0, f"size/{draws.stream}", draws.step).integers(0, len(self.sizes), 1)
        size = self.sizes[int(chosen)]
        return size, size

    def _values(self, draws: Draws, batch: int, rows: int, columns: int) -> Tensor:
        if self.factors == "entries":
            return draws.uniform(batch, rows, columns, low=self.low, high=self.high)
        left, right = (self._factor(draws, batch, size) for size in (rows, columns))
        return left @ right.mT

    def _factor(self, draws: Draws, batch: int, size: int) -> Tensor:
        shape = (batch, size, self.rank)
        if self.factors == "uniform":
            return draws.uniform(*shape, low=self.low, high=self.high)
        if self.factors == "two-point":
            upper = draws.integers(0, 2, *shape).to(draws.dtype)
            return self.low + upper * (self.high - self.low)
        if self.factors == "gaussian":
            return draws.normal(*shape) * self.scale
        sign = 2 * draws.integers(0, 2, *shape) - 1
        return -torch.log1p(-draws.uniform(*shape)) * sign * self.scale

    def _observed(self, draws: Draws, batch: int, rows: int, columns: int) -> Tensor:
        cells = rows * columns
        if self.hidden_rows or self.hidden_columns:
            shown = torch.ones(rows, columns, dtype=torch.bool, device=draws.device)
            shown[list(self.hidden_rows)] = False
            shown[:, list(self.hidden_columns)] = False
            for row, column in self.shown:
                shown[row, column] = True
            lead = (len(draws.seeds),) if draws.stacked else ()
            return shown.flatten().expand(*lead, batch, cells)
        if self.missing is not None:
            return draws.permutation(cells, batch) >= self.missing
        return draws.uniform(batch, cells) >= self.mask_probability
