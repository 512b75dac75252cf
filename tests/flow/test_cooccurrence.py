"""Word co-occurrence: the written-out systems against autograd, the spec's table, each other."""

import pytest
import torch
from torch.func import functional_call

from cooccurrence_flows import SYSTEMS, drawn, trajectory
from saltus.flow.cooccurrence import Closed, Full, Reduced
from saltus.flow.cooccurrence_fixture import fixture
from saltus.models import inner_products as products
from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE

TRAINED = (QUERY, KEY, VALUE, NEURONS)
# t: loss, G(mu1), G(mu2), G(mu3), A, M[1,2], M[2,1], M[3,1] (section 11.1)
TABLE = {
    0.0: (0.697260202089, 0.0838643005, -0.0859445325, 0.0800087925, 0.6760149176,
          -0.849495985043, -0.470606504687, 0.222328956509),
    0.5: (0.590359275780, -0.0482610568, 0.2723076022, -0.2753844423, 1.0407464989,
          -0.853305523493, -0.465926046998, 0.219540628049),
    2.0: (0.294365918989, 0.4875009805, 0.9309832907, -0.6135083333, 4.5963944692,
          -0.868765954337, -0.441361091759, 0.205312341251),
    20.0: (0.003635598619, 2.498593404, 3.2942756668, -2.3453025535, 23.6466426115,
           -0.858297725851, -0.378937813301, 0.149889190134),
    200.0: (0.000187049743, 3.7259085349, 4.7712526848, -3.4254288071, 36.1856237884,
            -0.845258076602, -0.346149876150, 0.113594411065),
}  # fmt: skip


@pytest.mark.parametrize("tokens", ["iid", "unique"])
def test_the_velocity_is_minus_the_models_gradient(tokens):
    """Claim 1, through the model's own forward pass; iid samples repeat tokens."""
    task, module, batch, parameters = drawn(tokens)
    assert tokens == "unique" or any(len(set(row)) < 5 for row in batch["inputs"][0].tolist())
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    losses = task.loss(functional_call(module, leaves, (batch["inputs"],)), batch)
    gradient = torch.autograd.grad(losses.mean(-1).sum(), list(leaves.values()))
    gradients = dict(zip(leaves, gradient, strict=True))
    parameters = {name: value.detach() for name, value in leaves.items()}

    full = Full(batch, parameters)
    states = full.start(parameters)
    torch.testing.assert_close(full.losses(states), losses.detach(), atol=1e-14, rtol=1e-13)
    velocity = full.unpack(full.velocity(states))
    assert set(velocity) == set(TRAINED)
    for name, value in velocity.items():
        torch.testing.assert_close(value, -gradients[name], atol=1e-14, rtol=1e-12)

    closed = Closed(batch, parameters)
    rates = closed.unpack(closed.velocity(closed.start(parameters)))
    expected = {
        "A": products.readout_norm_velocity(parameters, gradients)[:, None],
        "G": products.token_readout_velocity(parameters, gradients),
        "B": products.gram_velocity(parameters, gradients),
        "M": products.scores_velocity(parameters, gradients),
        "N_K": products.gram_velocity(parameters, gradients, KEY),
        "N_Q": products.gram_velocity(parameters, gradients, QUERY),
    }
    for name, value in expected.items():
        torch.testing.assert_close(rates[name], value, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("tokens", ["iid", "unique"])
def test_c_and_gamma_are_the_sums_over_occurrences_of_the_spec(tokens):
    """Section 5.1, one loop per symbol."""
    task, _, batch, parameters = drawn(tokens, rows=2, examples=6)
    full = Full(batch, parameters)
    pull = full.pull(full.start(parameters))
    gamma = full.gamma(pull)
    readout, scores = products.token_readout(parameters), products.scores(parameters)
    for row in range(2):
        c = torch.zeros(task.vocabulary, dtype=torch.float64)
        expected = torch.zeros(task.vocabulary, task.vocabulary, dtype=torch.float64)
        for i, sentence in enumerate(batch["inputs"][row].tolist()):
            y = batch["targets"][row, i]
            patterns = {x: (scores[row, sentence, x] / 6**0.5).softmax(0) for x in sentence}
            read = readout[row, sentence]
            output = sum((patterns[x] * read).sum() for x in sentence)
            g = 1 / (1 + torch.exp(y * output))
            torch.testing.assert_close(pull.margins[row, i], y * output)
            torch.testing.assert_close(pull.weights[row, i], g)
            for query in sentence:
                mean = (patterns[query] * read).sum()
                for p, key, value in zip(patterns[query], sentence, read, strict=True):
                    c[key] += g * y * p / 6
                    expected[key, query] += g * y * p * (value - mean) / (6 * 6**0.5)
        torch.testing.assert_close(pull.tokens[row], c)
        torch.testing.assert_close(gamma[row], expected)


def test_the_fixture_moves_at_the_speed_of_the_spec():
    batch, parameters = fixture()
    full = Full(batch, parameters)
    velocity = full.unpack(full.velocity(full.start(parameters)))
    norms = {NEURONS: 0.6131418473, VALUE: 0.2817109029, KEY: 0.0021540091, QUERY: 0.0078627746}
    for name, norm in norms.items():
        assert abs(velocity[name].norm() - norm) < 6e-11, name
    assert abs(velocity[NEURONS][0, 0, 0] + 0.035243129826) < 6e-13
    conserved = products.conserved(parameters)
    assert abs(conserved["I1"].norm() - 11.8445015819) < 6e-11
    assert abs(conserved["I2"].norm() - 16.9252624919) < 6e-11


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda kind: kind.__name__)
def test_the_fixture_follows_the_spec_to_time_200(system):
    """Claim 2: table 11.1 to its last printed digit (and the figure after it)."""
    batch, parameters = fixture()
    system = system(batch, parameters)
    states = trajectory(system, parameters, list(TABLE))
    inner = system.inner(states)
    losses = torch.stack([system.losses(state[None]).mean() for state in states])
    found = torch.stack(
        [losses, *inner["G"][:, :3].T, inner["A"][:, 0]]
        + [inner["M"][:, key, query] for key, query in ((0, 1), (1, 0), (2, 0))],
        dim=1,
    )
    expected = torch.tensor(list(TABLE.values()), dtype=torch.float64)
    assert (found - expected).abs().max() < 1e-8
    assert (found[0] - expected[0]).abs().max() < 6e-11


def test_the_three_systems_are_one_flow():
    """Claim 3, at t = 20, with repeated tokens and attention that is far from uniform and moves."""
    _, _, batch, parameters = drawn("iid", rows=1, examples=6, length=4)
    ends, moved = [], []
    for kind in SYSTEMS:
        system = kind(batch, parameters)
        states = trajectory(system, parameters, [0.0, 20.0], rtol=1e-10, atol=1e-12)
        ends.append(system.inner(states[1:]))
        moved.append(system.losses(states[1:]).mean() / system.losses(states[:1]).mean())
    for other in ends[1:]:
        for name, value in ends[0].items():
            assert (other[name] - value).abs().max() < 1e-9 * max(1, value.abs().max()), name
    assert moved[0] < 0.2
    start = Full(batch, parameters).inner(Full(batch, parameters).start(parameters))
    assert (ends[0]["M"] - start["M"]).abs().max() > 0.1


def test_the_reduced_system_is_gradient_descent_as_well():
    """Section 5.2: equal step by step, for any step size."""
    _, _, batch, parameters = drawn()
    full, reduced = Full(batch, parameters), Reduced(batch, parameters)
    one, other = full.start(parameters), reduced.start(parameters)
    for _ in range(30):
        one, other = one + 0.3 * full.velocity(one), other + 0.3 * reduced.velocity(other)
    for name, value in full.inner(one).items():
        torch.testing.assert_close(reduced.inner(other)[name], value, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", SYSTEMS, ids=lambda kind: kind.__name__)
def test_rows_are_independent_and_may_be_asked_for_alone(kind):
    _, _, batch, parameters = drawn()
    system = kind(batch, parameters)
    states = system.start(parameters)
    together = system.velocity(states)
    for rows in ([0], [2], [2, 0]):
        torch.testing.assert_close(
            system.velocity(states[rows], rows), together[rows], atol=1e-14, rtol=1e-12
        )
    for row in range(3):
        alone = kind(
            {name: value[row] for name, value in batch.items()},
            {name: value[row] for name, value in parameters.items()},
        )
        own = {name: value[row] for name, value in parameters.items()}
        torch.testing.assert_close(alone.start(own)[0], states[row])
        torch.testing.assert_close(alone.velocity(states[row : row + 1])[0], together[row])


@pytest.mark.parametrize("kind", SYSTEMS, ids=lambda kind: kind.__name__)
def test_states_are_packed_and_unpacked(kind):
    _, _, batch, parameters = drawn()
    system = kind(batch, parameters)
    states = system.start(parameters)
    assert states.dtype == torch.float64 and states.ndim == 2
    assert system.pack(system.unpack(states)).equal(states)
    for name, value in system.inner(states).items():
        torch.testing.assert_close(value, Closed(batch, parameters).unpack(
            Closed(batch, parameters).start(parameters))[name])  # fmt: skip


def test_the_order_of_positions_does_not_matter():
    task, module, batch, parameters = drawn()
    order = torch.stack([torch.randperm(5) for _ in range(12)]).expand(3, 12, 5)
    turned = dict(batch) | {"inputs": batch["inputs"].gather(-1, order)}
    outputs = [functional_call(module, parameters, (b["inputs"],)) for b in (batch, turned)]
    torch.testing.assert_close(outputs[1].squeeze(-1), outputs[0].squeeze(-1).gather(-1, order))
    torch.testing.assert_close(task.loss(outputs[1], batch), task.loss(outputs[0], batch))
    full, other = Full(batch, parameters), Full(turned, parameters)
    states = full.start(parameters)
    torch.testing.assert_close(other.velocity(states), full.velocity(states))


def test_the_targets_may_change_places_with_their_classes():
    _, _, batch, parameters = drawn()
    full = Full(batch, parameters)
    velocity = full.unpack(full.velocity(full.start(parameters)))
    names = torch.arange(9)
    names[:2] = torch.tensor([1, 0])
    swapped = dict(batch) | {"inputs": names[batch["inputs"]]}
    turned = {
        name: value if name in (NEURONS, READOUT) else value[:, names]
        for name, value in parameters.items()
    }
    other = Full(swapped, turned)
    states = other.start(turned)
    torch.testing.assert_close(other.losses(states), full.losses(full.start(parameters)))
    for name, value in other.unpack(other.velocity(states)).items():
        expected = velocity[name] if name == NEURONS else velocity[name][:, names]
        torch.testing.assert_close(value, expected)


def test_a_rotation_of_the_embedding_goes_through_the_whole_flow():
    """W_Q, W_K turned alike and W_V turned with W leave F alone and turn the velocity; with the
    embedding itself rotated, mu_i = U e_i, the matrices W U^T have the same columns W mu_i."""
    _, _, batch, parameters = drawn()
    first, second = (torch.linalg.qr(torch.randn(3, 6, 6).double()).Q for _ in range(2))
    turns = {QUERY: first, KEY: first, VALUE: second, NEURONS: second}
    turned = dict(parameters) | {n: parameters[n] @ turns[n] for n in TRAINED}
    full, other = Full(batch, parameters), Full(batch, turned)
    one, two = full.start(parameters), other.start(turned)
    torch.testing.assert_close(other.losses(two), full.losses(one))
    velocity = full.unpack(full.velocity(one))
    for name, value in other.unpack(other.velocity(two)).items():
        torch.testing.assert_close(value, velocity[name] @ turns[name])


def test_the_embedding_may_be_any_orthonormal_basis():
    """Section 1: with x = U e_i instead of e_i, and matrices W U^T, F is the same number."""
    _, module, batch, parameters = drawn(rows=1)
    basis = torch.linalg.qr(torch.randn(9, 9).double()).Q
    own = {name: value[0] for name, value in parameters.items()}
    query, key, value = (own[name].T @ basis.T for name in (QUERY, KEY, VALUE))
    outputs = functional_call(module, own, (batch["inputs"][0],)).squeeze(-1)
    for sentence, expected in zip(batch["inputs"][0], outputs, strict=True):
        x = basis[:, sentence]
        pattern = (x.T @ key.T @ query @ x / 6**0.5).softmax(0)
        found = own[READOUT] @ own[NEURONS] @ value @ x @ pattern
        torch.testing.assert_close(found[0], expected)
