"""How a norm grows: by which law of t, with which power, and what its steps have to do with it.

M6 and M8 to M10 of section 5 of our spec of 2010.09697. The norms of several members or seeds stand
in leading axes, [..., step], and are fitted each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from saltus.errors import SaltusError, unknown
from saltus.transitions.statistics.intervals import Interval, mean_interval
from saltus.transitions.statistics.product_limit import check_confidence

# The released regression has the first four; the logarithm is the limit of small powers.
LAWS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "root": np.sqrt,
    "linear": np.asarray,
    "fourth-root": lambda t: t**0.25,
    "exponential": lambda t: np.exp(-t),
    "logarithm": np.log,
}
RIVALS = ("root", "linear", "logarithm")
LOWEST, HIGHEST = 0.02, 3.0  # powers that are looked at
BLOCKS = 10  # pieces of a trajectory, as long as what its residuals remember or longer
FEWEST = 4  # different steps, for a power, a slope and an intercept

Steps = Float[np.ndarray, " step"]
Norms = Float[np.ndarray, "*member step"]
PerMember = Float[np.ndarray, "*member"]


@dataclass(frozen=True, eq=False)
class Fit:
    """norm = slope · law(t) + intercept by least squares, with the share of variance explained.

    `r_squared` is nan where a norm does not change at all.
    """

    law: str
    slope: PerMember
    intercept: PerMember
    r_squared: PerMember


@dataclass(frozen=True, eq=False)
class Power:
    """norm = slope · t^exponent + intercept by least squares, the exponent free.

    `memory` is the correlation of a residual with the next one: near 1 the misfit is a smooth curve
    and no noise, and an interval that counts the steps as independent would mean nothing.
    `at_border`: the best exponent is the lowest or highest looked at; near the lowest t^p cannot be
    told from a logarithm.
    """

    exponent: PerMember
    slope: PerMember
    intercept: PerMember
    r_squared: PerMember
    memory: PerMember
    at_border: Bool[np.ndarray, "*member"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Which law predicts best what it has not seen, or None: it cannot be told.

    `errors`: root mean square error on the blocks left out, per law and member. `margins`: for
    every law but the best the mean of log(its error / error of the best), with an interval over
    seeds (`count` of them), or, of one trajectory, over its blocks (`count` is then 1).
    """

    law: str | None
    best: str
    errors: Mapping[str, PerMember]
    margins: Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class Motion:
    """A trajectory of checkpoints, as far as lengths and angles tell: M8, M9 and M10.

    δ_t = θ_{t+1} - θ_t is the step between two consecutive checkpoints, which is many optimiser
    steps: its length depends on how far apart the checkpoints are.
    """

    norms: Float[np.ndarray, "*member checkpoint"]  # ‖θ_t‖
    lengths: Float[np.ndarray, "*member step"]  # ‖δ_t‖ (M9)
    inner: Float[np.ndarray, "*member step"]  # θ_t · δ_t

    @property
    def alignment(self) -> Float[np.ndarray, "*member step"]:
        """cos(δ_t, θ_t) (M8); nan where either has no length."""
        both = self.lengths * self.norms[..., :-1]
        return np.divide(self.inner, both, out=np.full(both.shape, np.nan), where=both > 0)

    @property
    def growth(self) -> PerMember:
        """‖θ_T‖² - ‖θ_0‖²."""
        return np.asarray(np.square(self.norms[..., -1]) - np.square(self.norms[..., 0]))

    @property
    def squares(self) -> PerMember:
        """Σ ‖δ_t‖²: what growth would be if all steps were orthogonal to the parameters."""
        return np.asarray(np.square(self.lengths).sum(-1))

    @property
    def cross(self) -> PerMember:
        """2 Σ θ_t · δ_t; with `squares` it makes up `growth` exactly (M10)."""
        return np.asarray(2 * self.inner.sum(-1))

    @property
    def grows(self) -> Bool[np.ndarray, "*member step"]:
        """Whether the norm grows at a step: exactly where θ_t · δ_t > -½ ‖δ_t‖²."""
        return self.inner > -np.square(self.lengths) / 2


def fit(steps: Sequence[float] | np.ndarray, norms: Sequence | np.ndarray, law: str) -> Fit:
    """Ordinary least squares with intercept of norms [..., step] on a law of the step (M6).

    The logarithm leaves out steps at 0, where it has no value. Raises SaltusError for an unknown
    law, and for steps or norms that cannot be fitted.
    """
    t, y = _checked(steps, norms)
    (regressor,), y = _regressors(t, y, [law])
    slope, intercept, residuals = _least_squares(regressor, y)
    return Fit(law, slope, intercept, _explained(residuals, y))


def power(
    steps: Sequence[float] | np.ndarray,
    norms: Sequence | np.ndarray,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
) -> Power:
    """The free exponent p of norm = a t^p + b: least squares over a and b for every p (M6).

    p is scanned in steps of 0.05, then ever more finely about the best, down to 5e-6.
    """
    if not 0 < lowest < highest:
        raise SaltusError(f"lowest: {lowest:g} is not allowed: above 0, below {highest:g}")
    t, y = _checked(steps, norms)
    exponent = _best_power(t, y, lowest, highest)
    largest = t.max()
    slope, intercept, residuals = _least_squares((t / largest) ** exponent[..., None], y)
    edge = 1e-5 * (highest - lowest)
    return Power(
        exponent,
        np.asarray(slope / largest**exponent),
        intercept,
        _explained(residuals, y),
        _memory(residuals),
        np.asarray((exponent < lowest + edge) | (exponent > highest - edge)),
    )


def exponent_interval(
    steps: Sequence[float] | np.ndarray,
    norms: Sequence | np.ndarray,
    confidence: float = 0.95,
    blocks: int = BLOCKS,
) -> Interval:
    """The exponent of norm = a t^p + b, with an interval.

    Norms [seed, step]: mean over seeds, Student's t. This is the interval to quote.

    Norms [step], one trajectory: no number of its steps makes a second seed, so `count` is 1 and
    the interval says less: how much p depends on which part of the trajectory is seen. Blocks of
    consecutive steps are left out in turn (the jackknife for dependent data: Künsch 1989), which
    allows for residuals that are correlated within a block, and Student's t with blocks - 1
    degrees of freedom is taken. What it covers on made-up trajectories stands in docs/growth.md.
    """
    check_confidence(confidence)
    t, y = _checked(steps, norms)
    if y.ndim > 2:
        raise SaltusError(f"norms: {y.ndim} axes are not allowed: [step] or [seed, step]")
    if y.ndim == 2:
        return mean_interval(power(t, y).exponent, confidence)
    from scipy.stats import t as student

    whole = float(power(t, y).exponent)
    parts = np.array([power(t[kept], y[kept]).exponent for kept in _kept(t, blocks)])
    pseudo = blocks * whole - (blocks - 1) * parts
    error = pseudo.std(ddof=1) / blocks**0.5
    half = float(student.ppf((1 + confidence) / 2, blocks - 1) * error)
    return Interval(whole, whole - half, whole + half, 1, confidence)


def choose(
    steps: Sequence[float] | np.ndarray,
    norms: Sequence | np.ndarray,
    laws: Sequence[str] = RIVALS,
    confidence: float = 0.95,
    blocks: int = BLOCKS,
) -> Choice:
    """√t, t or log t? The law that predicts best what it has not seen, if that can be told.

    The criterion, one of this project: a trajectory is cut into blocks of consecutive steps; each
    law is fitted to the others and predicts the one left out, the first and the last by
    extrapolation. The law with the smallest error (geometric mean over seeds) is chosen if for
    every rival the interval of log(rival's error / its error) lies above 0: over seeds for norms
    [seed, step], over blocks for norms [step]. Otherwise `law` is None: undecided. All laws have
    two parameters, so nothing is charged for them; AICc would count correlated residuals as
    independent and be certain of everything.

    Steps at 0 are left out for all laws if the logarithm is among them.
    """
    check_confidence(confidence)
    if len(set(laws)) < 2:
        raise SaltusError(f"laws: {', '.join(laws) or 'none'} is not allowed: two or more of them")
    t, y = _checked(steps, norms)
    if y.ndim > 2:
        raise SaltusError(f"norms: {y.ndim} axes are not allowed: [step] or [seed, step]")
    regressors, y = _regressors(t, y, laws)
    t = t[-y.shape[-1] :]
    squares = {}
    for law, x in zip(laws, regressors, strict=True):
        missed = np.empty(y.shape)
        for kept in _kept(t, blocks):
            slope, intercept, _ = _least_squares(x[kept], _of(y, kept))
            missed[..., ~kept] = y[..., ~kept] - slope[..., None] * x[~kept] - intercept[..., None]
        squares[law] = np.stack(
            [np.square(_of(missed, ~kept)).mean(-1) for kept in _kept(t, blocks)], -1
        )
    errors = {law: np.asarray(np.sqrt(each.mean(-1))) for law, each in squares.items()}
    tiny = np.finfo(np.float64).tiny
    logs = {law: np.log(np.maximum(each, tiny)) for law, each in errors.items()}
    best = min(laws, key=lambda law: float(logs[law].mean()))
    if y.ndim == 1:
        logs = {law: np.log(np.maximum(each, tiny)) / 2 for law, each in squares.items()}
    margins = {law: mean_interval(logs[law] - logs[best], confidence)
               for law in laws if law != best}  # fmt: skip
    sure = all(each.low > 0 for each in margins.values())
    if y.ndim == 1:
        margins = {law: Interval(m.estimate, m.low, m.high, 1, confidence)
                   for law, m in margins.items()}  # fmt: skip
    return Choice(best if sure else None, best, errors, margins)


def motion_of_pairs(norms: Sequence | np.ndarray, cosines: Sequence | np.ndarray) -> Motion:
    """From norms [..., checkpoint] and cosines of consecutive checkpoints [..., checkpoint - 1].

    ‖δ‖² = ‖θ_t‖² + ‖θ_{t+1}‖² - 2 ‖θ_t‖ ‖θ_{t+1}‖ cos. Near a cosine of 1 little is left of it: an
    error of e in the cosine is one of ‖θ‖² e / ‖δ‖ in the length.
    """
    n, cosine = np.asarray(norms, dtype=np.float64), np.asarray(cosines, dtype=np.float64)
    if n.ndim < 1 or n.shape[-1] < 2 or cosine.shape != (*n.shape[:-1], n.shape[-1] - 1):
        raise SaltusError(
            f"cosines: shape {cosine.shape} does not fit norms of shape {n.shape}: one less of "
            "them, and two norms or more"
        )
    if not ((n >= 0).all() and (np.abs(cosine) <= 1).all()):
        raise SaltusError("cosines: norms must be 0 or more, cosines lie between -1 and 1")
    before, after = n[..., :-1], n[..., 1:]
    # The same as in the docstring, from the difference of the norms: nothing cancels there.
    square = np.square(after - before) + 2 * before * after * (1 - cosine)
    return Motion(n, np.sqrt(square), before * (after * cosine - before))


def motion_of_vectors(vectors: Sequence | np.ndarray) -> Motion:
    """From parameters [..., checkpoint, n], in float64."""
    theta = np.asarray(vectors, dtype=np.float64)
    if theta.ndim < 2 or theta.shape[-2] < 2:
        raise SaltusError(f"vectors: shape {theta.shape} is not allowed: [..., checkpoint, n], "
                          "two checkpoints or more")  # fmt: skip
    steps = np.diff(theta, axis=-2)
    return Motion(
        np.sqrt(np.square(theta).sum(-1)),
        np.sqrt(np.square(steps).sum(-1)),
        (theta[..., :-1, :] * steps).sum(-1),
    )


def aligned(start: float, rates: np.ndarray, kappa: float) -> np.ndarray:
    """Norms when every step is κ η ‖θ‖ long and along θ (App. E.1): ‖θ‖ Π (1 + κ η).

    [steps + 1] from rates η [steps]; with η = 1/√t it tends to exp(2 κ √t).
    """
    return start * np.cumprod(np.append(1.0, 1 + kappa * np.asarray(rates)))


def misaligned(start: float, rates: np.ndarray, kappa: float) -> np.ndarray:
    """Norms when every step is κ η ‖θ‖ long and orthogonal to θ (App. E.2).

    ‖θ‖² Π (1 + κ² η²), [steps + 1] from rates η [steps]. With η = 1/√t it tends to t^(κ²/2), which
    is the paper's √t for κ = 1 only.
    """
    return start * np.sqrt(np.cumprod(np.append(1.0, 1 + np.square(kappa * np.asarray(rates)))))


def _checked(
    steps: Sequence[float] | np.ndarray, norms: Sequence | np.ndarray
) -> tuple[Steps, Norms]:
    t, y = np.asarray(steps, dtype=np.float64), np.asarray(norms, dtype=np.float64)
    if t.ndim != 1 or y.ndim < 1 or y.shape[-1] != len(t):
        raise SaltusError(
            f"norms: shape {y.shape} does not fit {t.shape} steps: one norm per step, the last axis"
        )
    if not (np.isfinite(t).all() and np.isfinite(y).all()):
        raise SaltusError("norms: a step or a norm is not finite: leave it out")
    if len(t) < FEWEST or (np.diff(t) <= 0).any() or t[0] < 0:
        raise SaltusError(f"steps: {FEWEST} or more of them, rising, from 0 on, are needed")
    return t, y


def _regressors(
    t: Steps, y: Norms, laws: Sequence[str]
) -> tuple[list[Float[np.ndarray, " kept"]], Float[np.ndarray, "*member kept"]]:
    """The laws of the steps; steps at 0 are left out of all if one of them has no value there."""
    for law in laws:
        if law not in LAWS:
            raise SaltusError(f"law: {unknown('law', law, LAWS)}")
    positive = t > 0 if "logarithm" in laws else np.ones(len(t), bool)
    return [np.asarray(LAWS[law](t[positive])) for law in laws], _of(y, positive)


def _of(y: Norms, places: Bool[np.ndarray, " step"]) -> Float[np.ndarray, "*member kept"]:
    """Some of the steps. (Plain indexing would leave the axes in another order in memory, and sums
    over them in an order that depends on the number of members.)"""
    return np.compress(places, y, axis=-1)


def _least_squares(
    x: Float[np.ndarray, "*any step"], y: Norms
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, intercept and residuals of y on x; no slope where x does not vary."""
    x_mean, y_mean = x.mean(-1, keepdims=True), y.mean(-1, keepdims=True)
    spread = np.square(x - x_mean).sum(-1, keepdims=True)
    common = ((x - x_mean) * (y - y_mean)).sum(-1, keepdims=True)
    slope = np.divide(common, spread, out=np.zeros(common.shape), where=spread > 0)
    residuals = y - y_mean - slope * (x - x_mean)
    intercept = y_mean - slope * x_mean
    return np.asarray(slope[..., 0]), np.asarray(intercept[..., 0]), residuals


def _explained(residuals: Norms, y: Norms) -> PerMember:
    total = np.square(y - y.mean(-1, keepdims=True)).sum(-1)
    left = np.square(residuals).sum(-1)
    share = np.divide(left, total, out=np.full(np.shape(total), np.nan), where=total > 0)
    return np.asarray(1 - share)


def _best_power(t: Steps, y: Norms, lowest: float, highest: float) -> PerMember:
    """Least squares over p: a grid, then finer ones about its best point."""
    step = 0.05
    grid = np.append(np.arange(lowest, highest, step), highest)
    relative = t / t.max()  # so that large powers of large steps stay small numbers
    centre = np.zeros(y.shape[:-1])
    offsets = np.broadcast_to(grid, (*centre.shape, len(grid)))
    while True:
        powers = np.clip(centre[..., None] + offsets, lowest, highest)
        _, _, residuals = _least_squares(relative ** powers[..., None], y[..., None, :])
        best = np.square(residuals).sum(-1).argmin(-1)
        centre = np.take_along_axis(powers, best[..., None], -1)[..., 0]
        if step < 1e-5:
            return centre
        offsets, step = step * np.linspace(-1, 1, 21), step / 10


def _memory(residuals: Norms) -> PerMember:
    """Correlation of consecutive residuals; nan where there are none."""
    r = residuals
    square = np.square(r).sum(-1)
    lagged = (r[..., 1:] * r[..., :-1]).sum(-1)
    return np.asarray(
        np.divide(lagged, square, out=np.full(np.shape(square), np.nan), where=square > 0)
    )


def _kept(t: Steps, blocks: int) -> list[Bool[np.ndarray, " step"]]:
    """For each block of consecutive steps: all the others."""
    if not 2 <= blocks <= len(t) // 2 or len(t) - -(-len(t) // blocks) < FEWEST:
        raise SaltusError(
            f"blocks: {blocks} is not allowed with {len(t)} steps: 2 to {len(t) // 2}, and "
            f"{FEWEST} steps left when one block is out"
        )
    places = np.array_split(np.arange(len(t)), blocks)
    return [~np.isin(np.arange(len(t)), block) for block in places]
