"""The mean-field limit against the spec's constants (11.2) and against the model itself."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from saltus.flow.cooccurrence import Reduced
from saltus.flow.mean_field import MeanField
from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE
from saltus.random import Draws
from saltus.tasks.word_cooccurrence import WordCooccurrence

# counts, L: tau05; moment and height of the I2 loss's peak; tau_cls and the loss there; rho, R,
# |beta|^2
TABLE = [
    (None, 4, 3.5647, 3.5647, 0.80257, 12.9794, 0.44058, 7 / 5, 3 / 2, 17),
    ((12, 4, 4, 4), 4, 4.3295, 1.9883, 0.74512, 5.2148, 0.48588, 1.47541, 1.10345, 6.32836),
    ((30, 10, 10, 10), 5, 3.8464, 2.4336, 0.76271, 6.9016, 0.47184, 1.44079, 1.26866, 8.22327),
    ((60, 20, 20, 20), 5, 3.6966, 2.9197, 0.78051, 9.1103, 0.45808, 1.42053, 1.37795, 11.07181),
    ((300, 100, 100, 100), 5, 3.5898, 3.4180, 0.79774, 11.9737, 0.44466, 1.40413, 1.47446,
     15.35159),
]  # fmt: skip
# MF(infinity), tau: G1 = G2, G3, loss
ENDLESS = {
    1: (0.145873, -0.023288, 0.649651),
    5: (0.518251, -0.322816, 0.555328),
    20: (1.325075, -1.489409, 0.374930),
    100: (3.297843, -4.496844, 0.147508),
    1e3: (7.691107, -11.147069, 0.0175458),
    1e5: (16.982601, -25.09275, 1.70237e-4),
}


def flow(field, end, times=None, events=()):
    """scipy's trajectory from 0 and the first moment of each event."""

    def velocity(_, y):
        return field.velocity(torch.from_numpy(y)[None])[0].numpy()

    signals = [lambda _, y, signal=signal: float(signal(torch.from_numpy(y)[None])[0])
               for signal in events]  # fmt: skip
    return solve_ivp(
        velocity, (0, end), field.start()[0].numpy(), method="DOP853", t_eval=times,
        rtol=1e-11, atol=1e-13, events=signals, dense_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row[0]))
def test_the_constants_of_the_spec(row):
    """Claim 11 and the other rows of section 11.2, to the digits printed there."""
    counts, length, tau05, peak, height, tau_cls, loss, ratio, common, norm = row
    field = MeanField(counts, length)

    def overtakes(y):
        velocity = field.velocity(y)
        return -velocity[:, 2] - velocity[:, :2].max(-1).values

    def rises(y):
        step = 1e-6 * field.velocity(y)
        return (field.class_losses(y + step) - field.class_losses(y - step))[:, 1]

    def classifies(y):
        return (field.signs * field.outputs(y)).min(-1).values

    solution = flow(field, 20, events=(overtakes, rises, classifies))
    first, top, clear = (moments[moments > 1e-3] for moments in solution.t_events)

    def at(time):
        return torch.from_numpy(solution.sol(time))[None]

    assert abs(first[0] - tau05) < 6e-5
    assert abs(top[0] - peak) < 6e-5 and abs(field.class_losses(at(top[0]))[0, 1] - height) < 6e-6
    assert abs(clear[0] - tau_cls) < 6e-5 and abs(field.loss(at(clear[0])) - loss) < 6e-6
    closed = field.limits(neither=False)
    np.testing.assert_allclose(closed, (ratio, common, 0, norm), atol=6e-6, rtol=0)


def test_the_endless_field_at_the_moments_of_the_spec():
    field = MeanField(None)
    solution = flow(field, 1e5, list(ENDLESS))
    states = torch.from_numpy(solution.y.T.copy())
    torch.testing.assert_close(states[:, 0], states[:, 1], atol=1e-10, rtol=0)
    for state, loss, given in zip(states, field.loss(states), ENDLESS.values(), strict=True):
        assert abs(state[0] - given[0]) < 6e-7
        assert abs(state[2] - given[1]) < 6e-6
        assert abs(loss - given[2]) < 6e-6 * given[2]
    sums = field.sums(states[-1:])[0]
    assert abs(sums[0] / sums[1] - 1.39999) < 1e-5
    assert abs((sums[1:].sum() - sums[0]) / (sums[0] - sums[1]) - 1.50004) < 1e-5
    assert abs(1e5 * field.loss(states[-1:]) / field.limits().norm - 1.0014) < 6e-5


def test_the_limits_are_those_of_the_spec_where_the_class_of_neither_is_inactive():
    """They are for all settings of the spec's table but the smallest."""
    for counts, length, *_ in TABLE:
        field = MeanField(counts, length)
        assert (field.limits() == field.limits(neither=False)) == (counts != (12, 4, 4, 4))
    small = MeanField((12, 4, 4, 4), 4).limits()
    np.testing.assert_allclose(small, (46 / 31, 10 / 9, 2 / 93, 652 / 103), rtol=1e-12)


@pytest.mark.parametrize("counts", [(12, 4, 4, 4), (30, 10, 10, 10)])
def test_the_field_ends_where_the_limits_say(counts):
    """Five tokens: I4 takes part for the first counts (S4 / S2 ends at 0.18), not for the second.

    The smallest margins win by powers of tau, so a margin of I4 near 1 would take for ever.
    """
    field = MeanField(counts, 5)
    state = torch.from_numpy(flow(field, 1e7, [1e7]).y.T.copy())
    s = field.sums(state)[0]
    found = (s[0] / s[1], (s[1:].sum() - s[0]) / (s[0] - s[1]), s[3] / s[1])
    limits = field.limits()
    np.testing.assert_allclose(found, limits[:3], atol=0.002, rtol=0)
    assert abs(1e7 * field.loss(state) / limits.norm - 1) < 1e-3
    assert (limits.neither > 0) == (counts == (12, 4, 4, 4))


def test_a_model_whose_attention_and_neurons_stand_still_is_the_field():
    """W_Q = W_K = 0 and W_V = 0 make every assumption of 5.4 exact but for A and B, which move by
    O(1 / m1): a large omega hides them."""
    task = WordCooccurrence(length=4, vocabulary=43, tokens="unique")
    batch = task.sample(Draws(0, "data", dtype=torch.float64), 24)
    zero, norm = torch.zeros(43, 2, dtype=torch.float64), 1e4
    parameters = {
        QUERY: zero, KEY: zero, VALUE: zero,
        NEURONS: torch.tensor([[norm, 0.0]], dtype=torch.float64),
        READOUT: torch.ones(1, 1, dtype=torch.float64),
    }  # fmt: skip
    system, field = Reduced(batch, parameters), MeanField((12, 4, 4, 4), 4)
    states, mean = system.start(parameters), field.start()
    for _ in range(40):  # the same Euler steps in the clock tau = A t
        states = states + 0.5 / norm**2 * system.velocity(states)
        mean = mean + 0.5 * field.velocity(mean)
    losses, expected = system.losses(states)[0], field.class_losses(mean)[0]
    torch.testing.assert_close(losses, expected[batch["classes"]], atol=1e-6, rtol=0)
    torch.testing.assert_close(system.inner(states)["G"][0, :3], mean[0, :3], atol=1e-6, rtol=0)
    assert abs(losses.mean() - field.loss(mean)) < 1e-6


def test_states_have_one_row_per_member():
    field = MeanField((6, 2, 2, 2), 4)
    states = torch.randn(3, 7).double()
    assert field.start(3).shape == (3, 7)
    for row in range(3):
        alone = field.velocity(states[row : row + 1])[0]
        torch.testing.assert_close(field.velocity(states)[row], alone)
