"""The one-layer model: the paper's F written out, its starts, sites, stacks and inner products."""

from math import sqrt

import pytest
import torch
from torch.func import functional_call, grad, vmap

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.flow.cooccurrence_fixture import fixture
from saltus.models import SILENT, Interface, Tape, group_of, initial_parameters
from saltus.models import inner_products as products
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.models.whole_vectors import pad_samples, whole_samples
from saltus.tasks.word_cooccurrence import WordCooccurrence, margin
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import is_separable
from saltus.training.readings import measure

INTERFACE = Interface(vocabulary=11, positions=5, outputs=1)
LAWS = [
    {},
    {"kappa": 2.0},
    {"initialisation": "normal", "sigma0": 0.3, "sigma1": 0.7},
    {"initialisation": "uniform-fan-in"},
    {"initialisation": "normal-fan-in"},
]
TABLES = (products.QUERY, products.KEY, products.VALUE)
outputs_of = pytest.mark.parametrize("outputs", [1, 3])


def prepared(outputs=1, members=3, samples=2, length=5, dtype=torch.float64, **fields):
    """A module, stacked parameters with attention far from uniform, and tokens with repeats."""
    interface = Interface(11, length, outputs)
    model = OneLayerAttention(width=6, neurons=4, kappa=6.0, **fields)
    module = model.build(interface).to(dtype)
    own = [initial_parameters(model, module, seed, dtype=dtype) for seed in range(members)]
    stacked = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    return module, stacked, torch.randint(11, (members, samples, length))


def plain(own, tokens):
    """F's summands f_l in the paper's orientation, one loop per symbol."""
    query, key, value = (own[name].T for name in (products.QUERY, products.KEY, products.VALUE))
    neurons, readout = own[products.NEURONS], own[products.READOUT]
    outputs = torch.zeros(*tokens.shape, len(readout), dtype=value.dtype)
    for i, sentence in enumerate(tokens.tolist()):
        for position, token in enumerate(sentence):
            scores = torch.stack([key[:, h] @ query[:, token] for h in sentence])
            weights = (scores / sqrt(len(query))).softmax(0)
            mixed = sum(p * value[:, h] for p, h in zip(weights, sentence, strict=True))
            for o, signs in enumerate(readout):
                outputs[i, position, o] = sum(
                    a * (w @ mixed) for a, w in zip(signs, neurons, strict=True)
                )
    return outputs


@outputs_of
def test_the_forward_pass_is_the_papers_formula(outputs):
    module, stacked, tokens = prepared(outputs)
    own = {name: value[0] for name, value in stacked.items()}
    torch.testing.assert_close(functional_call(module, own, (tokens[0],)), plain(own, tokens[0]))


@outputs_of
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_a_stack_is_each_member_alone_and_is_the_vmapped_module(outputs):
    module, stacked, tokens = prepared(outputs)

    def slopes_of(parameters, tokens):
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        total = functional_call(module, leaves, (tokens, SILENT)).square().sum()
        return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))

    together = functional_call(module, stacked, (tokens, SILENT))
    slopes = slopes_of(stacked, tokens)
    mapped = vmap(lambda own, ids: functional_call(module, own, (ids, SILENT)))(stacked, tokens)
    torch.testing.assert_close(mapped, together)
    for k in range(len(tokens)):
        own = {name: value[k] for name, value in stacked.items()}
        torch.testing.assert_close(functional_call(module, own, (tokens[k],)), together[k])
        for name, slope in slopes_of(own, tokens[k]).items():
            torch.testing.assert_close(slope, slopes[name][k])


@outputs_of
def test_explicit_sites_give_what_the_cheap_path_gives(outputs):
    module, stacked, tokens = prepared(outputs)
    cheap = functional_call(module, stacked, (tokens,))
    sites = {
        "blocks.0.attention.query": (3, 2, 1, 5, 6),
        "blocks.0.attention.key": (3, 2, 1, 5, 6),
        "blocks.0.attention.value": (3, 2, 1, 5, 6),
        "blocks.0.attention.temperature": (3, 1, 1, 1, 1),
        "blocks.0.attention.logits": (3, 2, 1, 5, 5),
        "blocks.0.attention.scores": (3, 2, 1, 5, 5),
        "blocks.0.attention.pattern": (3, 2, 1, 5, 5),
        "blocks.0.attention.heads": (3, 2, 1, 5, 6),
        "final": (3, 2, 5, 4),
    }
    for capture in (*[[name] for name in sites], list(sites)):
        tape = Tape(capture)
        torch.testing.assert_close(functional_call(module, stacked, (tokens, tape)), cheap)
        assert {name: value.shape for name, value in tape.values.items()} == {
            name: sites[name] for name in capture
        }
    own = {name: value[0] for name, value in stacked.items()}
    single = Tape(["*"])
    functional_call(module, own, (tokens[0], single))
    for name, value in single.values.items():
        torch.testing.assert_close(value, tape.values[name][0])
    for part, table in zip(("query", "key", "value"), TABLES, strict=True):
        own_rows = torch.stack([m[t] for m, t in zip(stacked[table], tokens, strict=True)])
        assert tape.values[f"blocks.0.attention.{part}"].squeeze(-3).equal(own_rows)
    scores = products.scores(stacked)
    key, query = tokens[..., None, :], tokens[..., :, None]
    gathered = torch.stack([m[k, q] for m, k, q in zip(scores, key, query, strict=True)])
    torch.testing.assert_close(
        tape.values["blocks.0.attention.scores"].squeeze(-3), gathered / sqrt(6)
    )
    pattern = tape.values["blocks.0.attention.pattern"]
    torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern.sum(-1)))


def test_edits_act_at_every_site():
    module, stacked, tokens = prepared()
    readouts = products.token_readout(stacked)
    per_key = torch.stack([g[t] for g, t in zip(readouts, tokens, strict=True)])

    def run(site, edit):
        tape = Tape(edits={site: (lambda name, value: edit(value),)})
        return functional_call(module, stacked, (tokens, tape))[..., 0]

    mean = per_key.mean(-1, keepdim=True).expand_as(per_key)
    torch.testing.assert_close(run("*.scores", torch.zeros_like), mean)
    torch.testing.assert_close(run("*.query", torch.zeros_like), mean)
    torch.testing.assert_close(run("*.key", torch.zeros_like), mean)
    torch.testing.assert_close(run("*.pattern", lambda p: torch.full_like(p, 0.2)), mean)
    plain_outputs = functional_call(module, stacked, (tokens,))[..., 0]
    torch.testing.assert_close(run("*.heads", lambda h: 2 * h), 2 * plain_outputs)
    torch.testing.assert_close(run("*.value", lambda v: 2 * v), 2 * plain_outputs)
    assert not run("final", torch.zeros_like).any()
    hidden = run("final", torch.ones_like)
    signs = stacked[products.READOUT].sum((-2, -1))
    torch.testing.assert_close(hidden, signs[:, None, None].expand_as(hidden))


def test_inner_products_are_their_definitions_and_the_uniform_limit_sums_readouts():
    module, stacked, tokens = prepared(outputs=2)
    for output in range(2):
        per_token = torch.einsum(
            "kj,kjm,kdm->kd",
            stacked[products.READOUT][:, output],
            stacked[products.NEURONS],
            stacked[products.VALUE],
        )
        torch.testing.assert_close(products.token_readout(stacked, output=output), per_token)
        torch.testing.assert_close(
            products.token_readout(stacked, (2, 0), output), per_token[:, [2, 0]]
        )
    still = dict(stacked) | {products.KEY: torch.zeros_like(stacked[products.KEY])}
    summed = functional_call(module, still, (tokens,)).sum(-2)
    for k in range(3):
        expected = products.token_readout(still, output=1)[k][tokens[k]].sum(-1)
        torch.testing.assert_close(summed[k, :, 1], expected)
    some = (0, 1, 2)
    for whole, part in (
        (products.scores(stacked), products.scores(stacked, some)),
        (products.gram(stacked), products.gram(stacked, tokens=some)),
        (
            products.gram(stacked, products.KEY),
            products.gram(stacked, products.KEY, some),
        ),
    ):
        torch.testing.assert_close(part, whole[:, :3, :3])


@pytest.mark.parametrize("tokens", [None, (0, 2, 1)])
def test_velocities_are_directional_derivatives(tokens):
    _, stacked, _ = prepared()
    gradients = {name: torch.randn_like(value) for name, value in stacked.items()}
    gradients[products.READOUT].zero_()
    velocity = {name: -value for name, value in gradients.items()}
    quantities = [
        (products.readout_norm, products.readout_norm_velocity, {}),
        (products.token_readout, products.token_readout_velocity, {"tokens": tokens}),
        (products.scores, products.scores_velocity, {"tokens": tokens}),
        (products.gram, products.gram_velocity, {"tokens": tokens}),
        (products.gram, products.gram_velocity, {"name": products.QUERY, "tokens": tokens}),
    ]
    for quantity, rate, options in quantities:
        ahead, behind = (quantity(moved(stacked, velocity, h), **options) for h in (1, -1))
        torch.testing.assert_close(rate(stacked, gradients, **options), (ahead - behind) / 2)


def moved(parameters, velocity, time):
    """All these quantities are quadratic, so a central difference of any size is exact."""
    return {name: value + time * velocity[name] for name, value in parameters.items()}


@outputs_of
def test_any_loss_conserves_what_the_model_says(outputs):
    """The rate of change along the gradient of an arbitrary loss is zero."""
    module, stacked, tokens = prepared(outputs)
    model, members = OneLayerAttention(), range(len(tokens))
    for k in members:
        own = {name: value[k] for name, value in stacked.items()}

        def loss(parameters):
            return functional_call(module, parameters, (tokens[k],)).sin().sum()  # noqa: B023

        velocity = {name: -slope for name, slope in grad(loss)(own).items()}
        velocity[products.READOUT] = torch.zeros_like(own[products.READOUT])
        values = model.conserved(own)
        ahead, behind = (model.conserved(moved(own, velocity, h)) for h in (1, -1))
        assert values.keys() == {"I1", "I2", "I3"}
        for name, value in values.items():
            torch.testing.assert_close(ahead[name], behind[name])
            assert (ahead[name] - value).abs().max() > 0.01 or name == "I3"
            assert value.abs().max() > 0.01
        torch.testing.assert_close(model.rate(own), products.readout_norm(own))


def test_parameters_have_their_groups_and_the_readout_is_fixed():
    module = OneLayerAttention(width=8, neurons=3).build(INTERFACE)
    groups = {name: group_of(name) for name, _ in module.named_parameters()}
    assert groups == {
        "blocks.0.attention.query.weight": "attention.qk",
        "blocks.0.attention.key.weight": "attention.qk",
        "blocks.0.attention.value.weight": "attention.value",
        "blocks.0.mlp.weight": "mlp",
        "readout.weight": "readout",
    }
    shapes = [tuple(value.shape) for value in module.parameters()]
    assert shapes == [(11, 8), (11, 8), (11, 8), (3, 8), (1, 3)]
    assert OneLayerAttention.fixed == ("readout.weight",)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_start_has_its_law(law):
    d, length, m, m1 = 200, 9, 160, 120
    model = OneLayerAttention(width=m, neurons=m1, **law)
    module = model.build(Interface(d, length, 2))
    start = initial_parameters(model, module, seed=3, dtype=torch.float64)
    signs = start.pop(products.READOUT)
    assert (signs.abs() == 1).all() and abs(signs.mean()) < 4 / sqrt(signs.numel())
    for name, value in start.items():
        is_mlp = name == products.NEURONS
        fan_in = m if is_mlp else d
        deviation = {
            "theory": 1 / sqrt(m1) if is_mlp else law.get("kappa", 0.3) / sqrt(length * m),
            "normal": 0.7 if is_mlp else 0.3,
            "uniform-fan-in": 1 / sqrt(3 * fan_in),
            "normal-fan-in": sqrt(2 / fan_in),
        }[model.initialisation]
        error = deviation / sqrt(value.numel())
        assert abs(value.mean()) < 4 * error, name
        assert abs(value.std() - deviation) < 4 * error / sqrt(2), name
        # A uniform law has fourth moment 9/5 and a bound, a normal one 3.
        kurtosis = (value**4).mean() / value.square().mean() ** 2
        if model.initialisation == "uniform-fan-in":
            assert 0.99 / sqrt(fan_in) < value.abs().max() < 1 / sqrt(fan_in)
            assert abs(kurtosis - 1.8) < 0.05
        else:
            assert abs(kurtosis - 3) < 0.25


def test_the_initial_scale_leaves_the_signs_alone_and_seeds_differ():
    model = OneLayerAttention(width=8, neurons=64)
    module = model.build(INTERFACE)
    one = initial_parameters(model, module, 0)
    three = initial_parameters(model.model_copy(update={"initial_scale": 3.0}), module, 0)
    still = initial_parameters(model.model_copy(update={"initial_scale": 0.0}), module, 0)
    other = initial_parameters(model, module, 1)
    for name, value in one.items():
        is_sign = name == products.READOUT
        torch.testing.assert_close(three[name], value if is_sign else 3 * value)
        assert still[name].equal(value if is_sign else torch.zeros_like(value))
        assert not other[name].equal(value)


def test_spare_rows_of_the_vocabulary_leave_the_others_where_they_start():
    task, more = WordCooccurrence(length=4, vocabulary=9), {"unseen": 3}
    wider = task.model_copy(update=more)
    model = OneLayerAttention(width=8, neurons=4)
    for name, value in initial_parameters(model, model.build(task.interface), 5).items():
        spare = initial_parameters(model, model.build(wider.interface), 5)[name]
        assert spare[: len(value)].equal(value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initialisation": "normal"}, "initialisation normal needs sigma0 and sigma1"),
        (
            {"initialisation": "normal", "sigma0": 0.1},
            "initialisation normal needs sigma0 and sigma1",
        ),
        ({"sigma1": 0.1}, "sigma0 and sigma1 go with initialisation normal, not with theory"),
        (
            {"initialisation": "uniform-fan-in", "kappa": 1.0},
            "kappa goes with initialisation theory, not with uniform-fan-in",
        ),
        ({"kappa": 0.0}, "0.0 is not allowed: input should be greater than 0"),
    ],
)
def test_numbers_that_do_not_belong_to_a_law_are_refused_in_one_line(fields, message):
    with pytest.raises(SaltusError, match=f"model.*: {message}"):
        Experiment.of(
            {
                "task": "word-cooccurrence",
                "model": {"kind": "one-layer-attention", **fields},
                "steps": 1,
                "batch": 6,
            }
        )


def test_the_fixture_has_the_outputs_of_the_spec():
    batch, parameters = fixture()
    module = OneLayerAttention(width=16, neurons=8).build(Interface(13, 4, 1)).double()
    outputs = functional_call(module, parameters, (batch["inputs"],))
    task = WordCooccurrence(length=4, vocabulary=13)
    given = [0.0050653915, 0.1450222571, 0.0452877726, 0.1956644678, 0.0132561318, 0.0203354718]
    expected = torch.tensor(given, dtype=torch.float64) * batch["targets"]
    torch.testing.assert_close(margin(outputs, batch), expected, atol=1e-10, rtol=0)
    loss = task.loss(outputs, batch).mean()
    assert abs(loss - 0.697260202089) < 1e-12


@pytest.mark.parametrize(
    ("length", "samples", "precision", "evaluation"),
    [(4, 24, "float64", 64), (5, 60, "float64", 64), (5, 18, "float32", 50), (7, 6, "float64", 7)],
)
def test_ragged_batches_stack_bit_for_bit(length, samples, precision, evaluation):
    """The padded samples make every share whole vectors, and no sum has one column."""
    experiment = Experiment.of(
        {
            "task": {"kind": "word-cooccurrence", "length": length, "vocabulary": 23},
            "model": {"kind": "one-layer-attention", "width": 32, "neurons": 16, "kappa": 3.0},
            "optimizer": {"kind": "sgd", "learning_rate": 0.3},
            "instruments": [
                {"kind": name, "cadence": 1}
                for name in ("evaluation", "norms", "gradient-norms", "hidden-cosine")
            ],
            "batch": samples,
            "evaluation_batch": evaluation,
            "steps": 4,
            "seeds": 4,
            "engine": {"workers": 1, "precision": precision},
        }
    )
    members = experiment.members()
    quiet = experiment.model_copy(update={"instruments": experiment.instruments[:3]})
    assert is_separable(Ensemble(quiet.members()[:1]))
    together = run(members)
    for row, member in enumerate(members):
        flat, losses, readings = run([member])
        assert together[0][row].equal(flat[0])
        assert all(a[row].equal(b[0]) for a, b in zip(together[1], losses, strict=True))
        for metrics, own in zip(together[2], readings, strict=True):
            differing = [name for name in own if not metrics[name][row].equal(own[name][0])]
            assert not differing


def run(members):
    ensemble, losses, readings = Ensemble(members), [], []
    for step in range(4):
        losses.append(ensemble.differentiate(step))
        readings.append(measure(ensemble, ensemble.experiment.instruments, step))
        ensemble.update(step)
    return ensemble.flat.detach(), losses, readings


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_samples_are_the_least_that_fill_whole_vectors(dtype):
    for numbers in (1, 16, 20, 25, 49, 64):
        for samples in (1, 6, 24, 60, 64):
            count = whole_samples(samples, numbers, dtype)
            fitting = [
                k for k in range(samples, samples + 33) if k * numbers * dtype.itemsize % 128 == 0
            ]
            assert count == fitting[0]
    values = torch.randn(2, 3, 4)
    assert pad_samples(values, -2, 3) is values
    padded = pad_samples(values, -2, 5)
    assert padded.shape == (2, 5, 4) and padded[:, :3].equal(values) and not padded[:, 3:].any()
