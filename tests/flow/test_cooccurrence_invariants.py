"""Word co-occurrence: what the flow conserves to the solver's tolerance, and two identities."""

import pytest
import torch

from cooccurrence_flows import SYSTEMS, drawn, trajectory
from saltus.flow.cooccurrence import Full
from saltus.flow.cooccurrence_fixture import fixture
from saltus.flow.cooccurrence_invariants import (
    absent_rows,
    dissipation,
    energies,
    growth,
    scalars,
)
from saltus.models import inner_products as products
from saltus.models.inner_products import KEY, NEURONS, QUERY, VALUE

systems = pytest.mark.parametrize("kind", SYSTEMS, ids=lambda kind: kind.__name__)


def test_flow_conserves_i1_to_i4():
    """Claims 4 and 5: quadratic ones to the solver's tolerance, linear ones to rounding."""
    _, _, batch, parameters = drawn(rows=1, examples=6, vocabulary=40)
    full = Full(batch, parameters)
    states = trajectory(full, parameters, [0.0, 200.0], rtol=1e-8, atol=1e-10)
    start, end = (full.parameters(state[None]) for state in states)
    assert all((end[n] - start[n]).abs().max() > 0.01 for n in (QUERY, KEY, VALUE, NEURONS))
    before, after = products.conserved(start), products.conserved(end)
    for name, bound in (("I1", 1e-9), ("I2", 1e-9), ("I3", 1e-13)):
        assert (after[name] - before[name]).norm() < bound
        assert before[name].norm() > 0.1
    rows, later = (absent_rows(values, batch["inputs"]) for values in (start, end))
    for name in (QUERY, KEY, VALUE):
        assert 10 < (rows[name] != 0).any(-1).sum() < 37
        assert later[name].equal(rows[name])


def test_gradient_descent_conserves_the_linear_ones_at_any_step_size():
    _, _, batch, parameters = drawn(vocabulary=40)
    full = Full(batch, parameters)
    states = full.start(parameters)
    for _ in range(20):
        states = states + 2.0 * full.velocity(states)
    end = full.parameters(states)
    drift = products.conserved(end)["I3"] - products.conserved(parameters)["I3"]
    assert drift.abs().max() < 1e-13 * end[NEURONS].abs().max()
    before, after = (absent_rows(values, batch["inputs"]) for values in (parameters, end))
    assert all(after[name].equal(before[name]) for name in before)


@systems
def test_the_scalars_of_i5_are_conserved(kind):
    batch, parameters = fixture()
    system = kind(batch, parameters)
    states = trajectory(system, parameters, [0.0, 2.0, 20.0], rtol=1e-9, atol=1e-11)
    values = scalars(system.inner(states), neurons=8)
    assert values.shape == (3, 4)
    assert (values - values[:1]).abs().max() < 1e-7 * values.abs().max()


def test_the_scalars_of_i5_are_those_of_i1_and_i2():
    """tr I1, |I1|^2, and a / m1 contracted with I2 in the same way (spec, section 6)."""
    _, _, batch, parameters = drawn()
    full = Full(batch, parameters)
    values = scalars(full.inner(full.start(parameters)), neurons=4)
    first = products.conserved(parameters)["I1"]
    direction = products.readout_direction(parameters) / 2  # omega / sqrt(m1)
    value = parameters[VALUE]
    second = direction.unsqueeze(-1) * direction.unsqueeze(-2) - value.mT @ value
    for column, matrix in ((0, first), (1, second)):
        trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
        torch.testing.assert_close(values[:, column], trace)
        torch.testing.assert_close(values[:, column + 2], matrix.square().sum((-2, -1)))


@systems
def test_the_loss_falls_by_the_energies_and_the_readout_grows_by_the_margins(kind):
    """Claim 6: E1 and E2; the three systems agree on all sides."""
    _, _, batch, parameters = drawn()
    system = kind(batch, parameters)
    states = system.start(parameters)
    for left, right in (dissipation(system, states, 4), growth(system, states, 4)):
        assert left.shape == (3,)
        torch.testing.assert_close(left, right, atol=0, rtol=1e-10)
    full = Full(batch, parameters)
    shares = energies(system, states, 4)
    velocity = full.unpack(full.velocity(full.start(parameters)))
    norms = [velocity[name].square().sum((-2, -1)) for name in (NEURONS, VALUE, KEY, QUERY)]
    torch.testing.assert_close(shares, torch.stack(norms, dim=-1))


def test_the_fixture_dissipates_what_its_velocities_say():
    batch, parameters = fixture()
    full = Full(batch, parameters)
    left, right = dissipation(full, full.start(parameters), 8)
    squares = 0.6131418473**2 + 0.2817109029**2 + 0.0021540091**2 + 0.0078627746**2
    assert abs(left + squares) < 1e-9 and abs(right + squares) < 1e-9
