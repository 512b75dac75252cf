"""Local attention gradients against automatic differentiation through whole models."""

import dataclasses

import pytest
import torch
from torch.func import functional_call

import saltus
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments import Reading
from saltus.instruments.local_attention_gradients import LocalAttentionGradients, local_gradients
from saltus.instruments.softmax_jacobian import SoftmaxJacobian, jacobian_norm
from saltus.models import Tape, initial_parameters
from saltus.models.base import Interface
from saltus.models.encoder import Encoder
from saltus.models.normalisers import Softmax
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.models.transformer import Decoder
from saltus.models.vit import VisionTransformer
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import Watch
from saltus.training.readings import measure

NORMALISERS = {
    "softmax": "softmax",
    "linear": "linear",
    "variance": {"kind": "norm-softmax", "statistic": "variance"},
    "deviation": {"kind": "norm-softmax", "statistic": "deviation"},
    "learned": "learned-temperature",
    "qk-norm": "qk-norm",
}
PARTS = ("query", "key", "value")


class Grid(Task):
    """Pictures of 4 x 4 patches; every sample has its own indicators and targets."""

    @property
    def interface(self):
        return Interface(0, 1, 10, image=(3, 8, 8))

    def roles(self, batch, tokens):
        masks = {}
        for role, low, high in (("indicator", 0, 5), ("target", 5, 9)):
            mask = (batch["order"] >= low) & (batch["order"] < high)
            masks[role] = torch.cat([torch.zeros_like(mask[..., :1]), mask], -1)
        return masks


def whole(family, attention, **fields):
    """A model in float64, with all its sites still attached to their graph."""
    task = Grid(kind="grid") if family is VisionTransformer else MovingWindowSum(length=4)
    if family is VisionTransformer:
        inputs = torch.rand(3, 3, 8, 8, dtype=torch.float64)
        batch = {"inputs": inputs, "order": torch.rand(3, 16).argsort(-1)}
        fields["patch"] = 2
    else:
        batch = dict(task.sample(Draws(0, "mine"), 3))
    model = family(depth=2, heads=2, width=8, attention=attention, initial_scale=10, **fields)
    module = model.build(task.interface).double()
    parameters = {
        name: value.requires_grad_()
        for name, value in initial_parameters(model, module, 0, dtype=torch.float64).items()
    }
    tape = Tape(capture=["*"])
    functional_call(module, parameters, (batch["inputs"], tape))
    sites = tape.values
    reading = Reading(task=task, parameters=parameters, model=model, batch=batch, sites=sites)
    return reading


@pytest.mark.parametrize("name", NORMALISERS)
@pytest.mark.parametrize("family", [Decoder, Encoder, VisionTransformer])
def test_it_is_the_gradient_through_the_model(family, name):
    reading = whole(family, NORMALISERS[name])
    with torch.no_grad():
        found = LocalAttentionGradients().read(reading)
    for block in ("blocks.0", "blocks.1"):
        site = f"{block}.attention"
        leaves = [reading.sites[f"{site}.{part}"] for part in PARTS]
        total = reading.sites[f"{site}.heads"].sum()
        gradients = torch.autograd.grad(total, leaves, retain_graph=True)
        for part, gradient in zip(PARTS, gradients, strict=True):
            sizes = gradient.abs().mean(-1)  # sample, head, token
            own = f"local-attention-gradients/{block}/{part}"
            if family is not VisionTransformer:
                torch.testing.assert_close(found[f"{own}/all.heads"], sizes.mean((0, 2)))
                torch.testing.assert_close(found[f"{own}/all"], sizes.mean())
                continue
            for role, mask in reading.task.roles(reading.batch, 17).items():
                chosen = [sizes[i][:, mask[i]].mean(-1) for i in range(3)]
                torch.testing.assert_close(found[f"{own}/{role}.heads"], sum(chosen) / 3)
                torch.testing.assert_close(found[f"{own}/{role}"], sum(chosen).mean() / 3)
    ends = 2 if family is VisionTransformer else 1
    assert len(found) == 2 * 3 * ends * 2


@pytest.mark.parametrize("name", [name for name in NORMALISERS if name != "qk-norm"])
def test_it_is_the_gradient_through_the_one_layer_model(name):
    task = WordCooccurrence(length=4, vocabulary=23)
    batch = dict(task.sample(Draws(0, "mine"), 3))
    model = OneLayerAttention(width=8, neurons=4, kappa=6.0, attention=NORMALISERS[name])
    module = model.build(task.interface).double()
    own = {
        name: value.requires_grad_()
        for name, value in initial_parameters(model, module, 0, dtype=torch.float64).items()
    }
    tape = Tape(capture=["*"])
    functional_call(module, own, (batch["inputs"], tape))
    reading = Reading(task=task, parameters=own, model=model, batch=batch, sites=tape.values)
    with torch.no_grad():
        found = LocalAttentionGradients().read(reading)
    site = "blocks.0.attention"
    leaves = [tape.values[f"{site}.{part}"] for part in PARTS]
    gradients = torch.autograd.grad(tape.values[f"{site}.heads"].sum(), leaves)
    for part, gradient in zip(PARTS, gradients, strict=True):
        size = found[f"local-attention-gradients/blocks.0/{part}/all.heads"]
        torch.testing.assert_close(size, gradient.abs().mean((0, 2, 3)))
    module.load_state_dict({name: value.detach() for name, value in own.items()})
    again = saltus.read(module, [LocalAttentionGradients()], task, batch, model=model)
    assert again.keys() == found.keys()
    for key, value in found.items():
        torch.testing.assert_close(again[key], value)


def test_closed_forms_of_softmax():
    """g_v of a key is the attention it receives; keys that are all alike get no gradient through
    attention, values that sum to the same everywhere give none to queries and keys."""
    query, key, value = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    found = local_gradients(query, key, value, 2.0, Softmax(), causal=False)
    received = (query @ key.mT / 2).softmax(-1).sum(-2)
    torch.testing.assert_close(found.value, received.unsqueeze(-1).expand_as(value))
    alike = local_gradients(query, key[:, :, :1].expand_as(key), value, 2.0, Softmax(), False)
    assert alike.query.abs().max() < 1e-12
    level = value - value.mean(-1, keepdim=True)
    none = local_gradients(query, key, level, 2.0, Softmax(), False)
    assert max(none.query.abs().max(), none.key.abs().max()) < 1e-12


def test_queries_and_keys_starve_under_nearly_uniform_attention():
    query, key, value = torch.randn(3, 2, 2, 64, 4, dtype=torch.float64)
    hot, usual = (local_gradients(query, key, value, tau, Softmax(), False) for tau in (200.0, 2.0))
    assert hot.query.abs().mean() < 0.02 * usual.query.abs().mean()
    assert hot.value.abs().mean() == pytest.approx(1.0)


def test_roles_are_those_of_each_sample():
    """The same picture content under other roles; a role without a token is NaN."""
    reading = whole(VisionTransformer, "softmax")
    before = LocalAttentionGradients().read(reading)
    order = reading.batch["order"]
    moved = dataclasses.replace(reading, batch={**reading.batch, "order": order.flip(0)})
    after = LocalAttentionGradients().read(moved)
    name = "local-attention-gradients/blocks.0/value/indicator"
    assert before[name] != after[name]
    none = dataclasses.replace(reading, batch={**reading.batch, "order": order + 5})
    found = LocalAttentionGradients().read(none)
    assert found[name].isnan()
    assert found["local-attention-gradients/blocks.0/value/target"].isfinite()


EXPERIMENTS = {
    name: Experiment(
        task=MovingWindowSum(length=8),
        model=Decoder(depth=2, heads=2, width=16, attention=attention, initial_deviation=0.3),
        steps=2,
        batch=16,
        evaluation_batch=16,
        seeds=3,
    )
    for name, attention in NORMALISERS.items()
}


@pytest.mark.parametrize("name", NORMALISERS)
def test_a_member_is_the_same_in_any_company(name):
    """Where it is not, the engine sees that and runs members one by one."""
    part = [LocalAttentionGradients()]
    each = EXPERIMENTS[name].members()
    together = measure(Ensemble(each), part, 0)
    assert together and all(value.shape[0] == 3 for value in together.values())
    for row, member in enumerate(each):
        with Watch() as watch:
            alone = measure(Ensemble([member]), part, 0)
        differing = [key for key in alone if not alone[key][0].equal(together[key][row])]
        assert not differing or watch.ragged


def test_the_temperature_in_force_is_each_members_own():
    taus = [0.5, 2.0]
    base = EXPERIMENTS["softmax"].model_dump() | {
        "seeds": (0,),
        "interventions": [{"kind": "temperature", "value": 1.0}],
        "vary": {"interventions.0.value": taus},
    }
    made = Ensemble(Experiment.model_validate(base).members())
    tape = made.tape(0, ["blocks.0.attention.*"])
    made.lifted(made.parameters, made.draw("evaluation", 0, 16)["inputs"], tape)
    found = measure(made, [LocalAttentionGradients(), SoftmaxJacobian()], 0)
    for member, tau in enumerate(taus):
        query, key, value, pattern = (
            tape.values[f"blocks.0.attention.{name}"][member] for name in (*PARTS, "pattern")
        )
        own = local_gradients(query, key, value, tau, Softmax(), causal=True)
        name = "local-attention-gradients/blocks.0/query/all"
        torch.testing.assert_close(found[name][member], own.query.abs().mean())
        through = jacobian_norm(pattern, tau).mean()
        torch.testing.assert_close(found["softmax-jacobian/blocks.0"][member], through)


def test_one_model_is_read_without_a_member_axis(stacked):
    stack = stacked()
    found = LocalAttentionGradients().read(
        Reading(task=stack.task, model=stack.model, **dict(stack))
    )
    for member in range(5):
        for name, value in LocalAttentionGradients().read(stack.one(member)).items():
            torch.testing.assert_close(value, found[name][member], rtol=1e-5, atol=1e-6)


def test_models_without_the_sites_are_one_line(one, task):
    bare = dataclasses.replace(one(), sites={"final": torch.ones(1, 2, 3)})
    with pytest.raises(SaltusError, match=r"no site 'blocks\.\*\.attention\.query'"):
        LocalAttentionGradients().read(bare)
    module = Decoder(depth=1, heads=2, width=8).build(task.interface)
    batch = task.sample(Draws(0, "mine"), 4)
    with pytest.raises(SaltusError, match="local-attention-gradients: a module of your own"):
        saltus.read(module, [LocalAttentionGradients()], task, batch)
