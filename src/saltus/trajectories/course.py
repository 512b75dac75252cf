"""The way that a set of parameters went over a series of checkpoints: M1 and M7 to M10."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Accounting:
    """M10, an identity: ‖θ_T‖² - ‖θ_0‖² = Σ‖δ‖² + 2 Σ θ_tᵀδ_t.

    `growth` is the left side, `squared_steps` and `cross` are the two terms of the right one, each
    measured by itself. Shares are of the growth; NaN where it is 0.
    """

    growth: float
    squared_steps: float
    cross: float

    @property
    def squared_steps_share(self) -> float:
        """Σ‖δ‖² / growth: 1 where steps are orthogonal to the parameters."""
        return self.squared_steps / self.growth if self.growth else float("nan")

    @property
    def cross_share(self) -> float:
        """2 Σ θᵀδ / growth."""
        return self.cross / self.growth if self.growth else float("nan")


@dataclass(frozen=True)
class Course:
    """C checkpoints, float64; a step is between neighbouring checkpoints, not of the optimiser.

    norm [C]: ‖θ_t‖. direction [C-1]: cos(θ_t, θ_{t+1}), M7. alignment [C-1]: cos(δ_t, θ_t) with
    δ_t = θ_{t+1} - θ_t, M8. step [C-1]: ‖δ_t‖, M9. turn [C-2]: cos(δ_t, δ_{t+1}). Cosines with a
    vector of zeros, and all that touches what is not finite, are NaN.
    """

    norm: np.ndarray
    direction: np.ndarray
    alignment: np.ndarray
    step: np.ndarray
    turn: np.ndarray
    accounting: Accounting

    @staticmethod
    def of(
        squares: np.ndarray, products: np.ndarray, step_squares: np.ndarray, turns: np.ndarray
    ) -> Course:
        """From ‖θ_t‖² [C], θ_tᵀδ_t [C-1], ‖δ_t‖² [C-1] and δ_tᵀδ_{t+1} [C-2]."""
        with np.errstate(invalid="ignore", divide="ignore"):  # what is not finite becomes NaN
            norm, step = np.sqrt(squares), np.sqrt(step_squares)
            return Course(
                norm,
                _ratio(squares[:-1] + products, norm[:-1] * norm[1:]),
                _ratio(products, norm[:-1] * step),
                step,
                _ratio(turns, step[:-1] * step[1:]),
                Accounting(
                    growth=float(squares[-1] - squares[0]),
                    squared_steps=float(step_squares.sum()),
                    cross=float(2 * products.sum()),
                ),
            )


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Clipped to a cosine's range, which rounding may leave by its last bit."""
    return np.clip(np.where(below > 0, above / below, np.nan), -1.0, 1.0)
