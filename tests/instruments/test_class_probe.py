"""Class probes: the same training one by one, what can be read, members that do not mix."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import saltus
from marked_samples import HEADS, OUTPUT, Marked, reading
from saltus.experiment import Experiment
from saltus.instruments import Instrument
from saltus.instruments.class_probe import ClassProbe, accuracies
from saltus.instruments.probe_training import Recipe, batches, smoothed, train
from saltus.instruments.probed_states import States, scale
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.models.vit import VisionTransformer
from saltus.tasks.images.two_step import TwoStepImage
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import Watch
from saltus.training.readings import measure
from tiny_checkpoints import same_bits

RECIPE = Recipe(hidden=0, steps=11, batch=16, learning_rate=0.02, label_smoothing=0.1, seed=3)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "probes.md"
SMALL = {"train": 256, "test": 256, "steps": 60, "batch": 32}
ANSWERS = {"sign": 2, "same": 2, "largest": 3}


def probe(seeds=0, look=None, dtype=torch.float32, features=4, **fields):
    part = ClassProbe(**{**SMALL, **fields})
    made = reading(part, seeds, dtype, features=features)
    return part.read(look(made) if look else made)


def at(results, target, site=OUTPUT, tokens="all", what="accuracy"):
    return results[f"class-probe/{site}/{target}/{tokens}/{what}"]


# ------------------------------------------------------------------------------------ training


@torch.no_grad()
def adamw(weights, gradient, slots, count, rate):
    """The formula of Loshchilov and Hutter with PyTorch's settings."""
    first, second = slots
    first += (1 - 0.9) * (gradient - first)
    second += (1 - 0.999) * (gradient**2 - second)
    scaled = first / (1 - 0.9**count) / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
    weights -= rate * (scaled + 0.01 * weights)


def some_features(members=2, probes=2, samples=40, width=5):
    """As `gathered` lays them out: filled up with zeros, the last one 1."""
    features = torch.zeros(members, probes, samples, 16, dtype=torch.float64)
    features[..., :width] = torch.randn(members, probes, samples, width)
    features[..., -1] = 1
    labels = [torch.randint(size, (members, samples)) for size in ANSWERS.values()]
    return features, labels


@pytest.mark.parametrize("hidden", [0, 4])
def test_each_probe_is_trained_as_if_it_were_alone(hidden):
    features, labels = some_features()
    recipe = RECIPE._replace(hidden=hidden)
    sizes = list(ANSWERS.values())
    start = train(features, labels, sizes, recipe._replace(learning_rate=0.0))
    together = train(features, labels, sizes, recipe)
    found = together.logits(features)
    for k, p, place in ((0, 0, 0), (1, 0, 1), (1, 1, 2)):
        own = start.columns[place]
        mine = slice(place * hidden, (place + 1) * hidden)
        weights = [start.layers[-1][k, p][:, own]]
        if hidden:
            last = start.layers[1][k, p]
            joined = torch.cat([last[mine, own], last[start.one, own].unsqueeze(0)])
            weights = [start.layers[0][k, p][:, mine], joined]
        weights = [weight.clone().requires_grad_() for weight in weights]
        slots = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]

        def said(x, weights=weights):
            if hidden:
                x = torch.cat([(x @ weights[0]).relu(), torch.ones_like(x[:, :1])], dim=1)
            return x @ weights[-1]

        for count, chosen in enumerate(batches(recipe, 40, features.device), start=1):
            truth = labels[place][k, chosen]
            loss = cross_entropy(said(features[k, p, chosen]), truth, label_smoothing=0.1)
            gradients = torch.autograd.grad(loss, weights)
            for each in zip(weights, gradients, slots, strict=True):
                adamw(*each, count, 0.02)
        torch.testing.assert_close(
            found[place][k, p], said(features[k, p]).detach(), rtol=1e-9, atol=1e-12
        )


def test_a_linear_map_starts_at_zero_and_what_fills_up_stays_there():
    features, labels = some_features()
    trained = train(features, labels, list(ANSWERS.values()), RECIPE)
    (weights,) = trained.layers
    assert weights.shape == (2, 2, 16, 16)
    assert not weights[..., 5:-1, :].any() and not weights[..., 7:].any()
    assert weights[..., :5, :7].all() and weights[..., -1, :7].all()  # the bias learns too
    untrained = train(features, labels, [2, 2, 3], RECIPE._replace(learning_rate=0.0))
    assert not untrained.layers[0].any()


def test_a_hidden_unit_serves_its_own_target_alone():
    features, labels = some_features()
    trained = train(features, labels, [2, 2, 3], RECIPE._replace(hidden=4))
    last = trained.layers[1]
    assert trained.one == 12
    for place, own in enumerate(trained.columns):
        mine = slice(4 * place, 4 * place + 4)
        others = torch.ones(16, dtype=torch.bool)
        others[mine] = others[12] = False
        assert last[..., mine, own].all() and not last[..., others, own].any()


@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 30))
def test_every_sample_is_shown_once_before_one_is_shown_again(samples, size, steps):
    recipe = RECIPE._replace(batch=size, steps=steps)
    shown = list(batches(recipe, samples, torch.device("cpu")))
    assert len(shown) == steps and {len(each) for each in shown} == {min(size, samples)}
    counts = torch.cat(shown).bincount(minlength=samples)
    assert counts.max() - counts.min() <= 1


def test_smoothed_targets_are_those_of_pytorchs_cross_entropy():
    logits = torch.randn(1, 30, 5, dtype=torch.float64)
    truth = torch.randint(5, (1, 30))
    wanted = smoothed([truth], [5], 0.1)
    assert wanted.shape == (1, 30, 16) and not wanted[..., 5:].any()
    own = -(wanted[..., :5] * logits.log_softmax(-1)).sum(-1)
    other = cross_entropy(logits[0], truth[0], reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(own[0], other)


# ------------------------------------------------------------------------------------- reading


def test_what_is_linear_is_read_and_what_is_not_is_not():
    results = probe(train=1024, test=1024, steps=150, batch=64)
    assert at(results, "sign") > 0.96 and at(results, "largest") > 0.93
    assert abs(at(results, "same") - 0.5) < 0.08 and abs(at(results, "coin") - 0.5) < 0.08
    assert at(results, "largest", what="accuracy-top2") > at(results, "largest")


def test_hidden_units_read_what_a_line_cannot():
    settings = {"train": 1024, "steps": 400, "batch": 64, "learning_rate": 0.03}
    results = probe(hidden=10, targets=("same", "coin"), **settings)
    assert at(results, "same") > 0.9 and abs(at(results, "coin") - 0.5) < 0.1


def test_each_head_has_its_own_probes_and_each_token_its_states():
    """Heads are two numbers wide: the sign is in the first, at the first position."""
    whole = {
        tokens: probe(tokens=tokens, representations=("z",), targets=("sign",))
        for tokens in ("all", "class", "answer")
    }
    for tokens, results in whole.items():
        first, second = at(results, "sign", HEADS, tokens)
        assert abs(second - 0.5) < 0.12
        assert first > 0.9 if tokens != "answer" else abs(first - 0.5) < 0.12
    single = probe(tokens="class", features=2, representations=("z", "output"), targets=("sign",))
    assert at(single, "sign", HEADS, "class").shape == (1,)  # one head is still a head
    assert at(single, "sign", OUTPUT, "class").shape == ()


def test_the_input_of_the_block_can_be_added_to_its_heads():
    """Here it is ten times what the heads hold: eleven times as large features in all, which
    scaling undoes."""
    fields = {"representations": ("z",), "targets": ("sign", "largest")}
    one, other = (probe(residual_input=added, **fields) for added in (False, True))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=0.02, rtol=0)


def test_held_out_samples_are_the_evaluation_batch_and_training_samples_are_the_tasks():
    """With answers turned round in the evaluation batch, every answer is wrong."""
    part = ClassProbe(**{**SMALL, "test": 64}, targets=("coin",), seed=5)
    made = reading(part)
    assert part.needs(made.task).samples == 64 and part.needs(made.task).task is None

    class Told(Marked):
        def labels(self, batch):
            told = (batch["inputs"][..., 0, 0] > 0).long()
            return {"coin": 1 - told if told.shape[-1] == 64 else told}

    turned = part.read(dataclasses.replace(made, task=Told()))
    assert at(turned, "coin") < 0.1


def test_a_reading_is_a_pure_function_and_seed_moves_its_samples():
    again = probe(seed=1)
    assert same_bits(probe(seed=1), again) and not same_bits(probe(seed=2), again)


@pytest.mark.parametrize("scaling", ["feature", "whole", "none"])
def test_scaling_is_by_the_training_samples(scaling):
    learnt, tested = (
        States(torch.randn(2, 3, 50, 16, dtype=torch.float64) * 5 + 2, 6, {}) for _ in range(2)
    )
    for part in (learnt, tested):
        part.features[..., 6:] = 0
        part.features[..., 1] = 4.0  # as in every sample
        part.features[..., -1] = 1
    own, other = learnt.features.clone(), tested.features.clone()
    scale(learnt, tested, scaling)
    if scaling == "none":
        assert learnt.features.equal(own) and tested.features.equal(other)
        return
    mean = own.mean(-2, keepdim=True)
    deviation = own.std(-2, correction=0, keepdim=True)
    if scaling == "whole":
        deviation = deviation.square()[..., :6].mean(-1, keepdim=True).sqrt()
    for part, before in ((learnt, own), (tested, other)):
        wanted = (before - mean) / torch.where(deviation > 0, deviation, 1)
        wanted[..., -1] = 1
        torch.testing.assert_close(part.features, wanted)
        assert not part.features[..., 6:-1].any()


def test_accuracies_by_hand():
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    truth = torch.tensor([[0, 2, 2, 0]])
    found = accuracies(logits.view(1, 1, 4, 3), truth)
    assert found["accuracy"].tolist() == [[0.25]]  # equal logits are a guess, not an answer
    assert found["accuracy-top2"].tolist() == [[0.5]]
    assert accuracies(logits.view(1, 1, 4, 3)[..., :2], truth.clamp_max(1)).keys() == {"accuracy"}
    logits[0, 0] = torch.nan
    assert accuracies(logits.view(1, 1, 4, 3), truth)["accuracy"].isnan().all()


# ------------------------------------------------------------------------------------- members


@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("features", "train", "batch"), [(4, 64, 32), (6, 61, 13)])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(features, train, batch, dtype, hidden):
    fields = {"train": train, "test": train, "batch": batch, "hidden": hidden, "steps": 12}
    seeds = list(range(5))
    together = probe(seeds, dtype=dtype, features=features, **fields)
    for some in ([0], [3], [4, 0], [1, 2, 3]):
        fewer = probe(some, dtype=dtype, features=features, **fields)
        for row, k in enumerate(some):
            one = {name: value[k] for name, value in together.items()}
            assert same_bits({name: value[row] for name, value in fewer.items()}, one)
    alone = probe(2, dtype=dtype, features=features, **fields)  # no axis of members at all
    assert same_bits(alone, {name: value[2] for name, value in together.items()})


def test_a_member_that_diverged_gives_nan_and_leaves_the_others_alone():
    def broken(made):
        def run(inputs, **kwargs):
            states = {name: value.clone() for name, value in made.run(inputs).sites.items()}
            for value in states.values():
                value[1, 0] = torch.nan
            return made.run(inputs)._replace(sites=states)

        return dataclasses.replace(made, run=run)

    before, after = probe([0, 1, 2]), probe([0, 1, 2], look=broken)
    for name, value in after.items():
        assert value[1].isnan().all() and value[[0, 2]].equal(before[name][[0, 2]])


# ------------------------------------------------------------------------------------- models

PART = ClassProbe(train=64, test=64, steps=8, batch=32, representations=("z", "query", "residual"))
MODELS = {
    "decoder": Decoder(depth=2, heads=2, width=16, initial_deviation=0.3),
    "encoder": Encoder(depth=2, heads=2, width=16, initial_deviation=0.3),
    "vit": VisionTransformer(depth=2, heads=2, width=16, patch=8, stochastic_depth=0.0),
}
every_model = pytest.mark.parametrize("name", MODELS)


def ensemble(name, seeds, part=PART, **engine):
    images = name == "vit"
    task = TwoStepImage() if images else Marked()
    part = part.model_copy(update={"targets": ("y", "z")}) if images else part
    made = Experiment(
        task=task, model=MODELS[name], instruments=[part], steps=2, batch=32, seeds=seeds,
        engine={"workers": 1, **engine},
    )  # fmt: skip
    return Ensemble(made.members()), part


@every_model
def test_every_layer_of_a_transformer_is_probed(name):
    made, part = ensemble(name, [4, 0])
    found = measure(made, [part], 0)
    targets = {"y": 10, "z": 2} if name == "vit" else made.task.label_classes()
    sites = {"attention.heads": (2, 2), "attention.query": (2, 2), "residual.post": (2,)}
    wanted = {
        f"class-probe/blocks.{block}.{site}/{target}/all/{what}": shape
        for block in range(2) for site, shape in sites.items() for target, size in targets.items()
        for what in (("accuracy", "accuracy-top2") if size > 2 else ("accuracy",))
    }  # fmt: skip
    assert {each: tuple(value.shape) for each, value in found.items()} == wanted
    assert all(((value >= 0) & (value <= 1)).all() for value in found.values())


@every_model
def test_members_of_an_ensemble_do_not_mix_and_nothing_keeps_them_apart(name):
    """The probes' own products are whole vectors: the engine may stack."""
    together = measure(ensemble(name, [4, 0])[0], [ensemble(name, [4])[1]], 0)
    for row, seed in enumerate([4, 0]):
        made, part = ensemble(name, [seed])
        with Watch() as watch:
            alone = measure(made, [part], 0)
        assert not watch.ragged
        assert same_bits(alone, {each: value[row : row + 1] for each, value in together.items()})


@every_model
def test_a_plain_loop_reads_what_the_engine_reads(name):
    made, part = ensemble(name, [0, 1], precision="float64")
    together = measure(made, [part], 0)
    batch = made.draw("evaluation", 0, 64, made.task.validation)
    for row in range(2):
        own = {key: value[row].detach() for key, value in made.parameters.items()}
        made.module.load_state_dict(own)
        shown = {key: value[row] for key, value in batch.items()}
        alone = saltus.read(made.module, [part], made.task, shown)
        assert alone.keys() == together.keys()
        for key, value in alone.items():
            torch.testing.assert_close(value, together[key][row], rtol=0, atol=0.02)


# -------------------------------------------------------------------------------------- input


def test_what_cannot_be_probed_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^task moving-window-sum tells no classes"):
        ClassProbe().check(MovingWindowSum())
    ClassProbe(targets=("coin",)).check(Marked())
    with pytest.raises(ValueError, match=r"^targets: unknown target 'signs'; did you mean"):
        ClassProbe(targets=("signs",)).check(Marked())
    with pytest.raises(
        saltus.SaltusError, match=r"^instruments: the model has no site 'blocks.7.attention.he"
    ):
        probe(layers=(7,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", []), ("representations", ["w"]), ("representations", []), ("layers", [-1]),
        ("tokens", "first"), ("hidden", -1), ("train", 0), ("test", 0), ("steps", 0), ("batch", 0),
        ("learning_rate", 0), ("label_smoothing", 1), ("scaling", "norm"), ("seed", -1),
    ],
)  # fmt: skip
def test_fields_say_what_they_allow(field, value):
    with pytest.raises(ValueError, match=rf"^{field}"):
        Instrument.parse({"kind": "class-probe", field: value})


def test_it_is_data():
    assert Instrument.parse(PART.model_dump()) == PART
    assert Instrument.parse("class-probe") == ClassProbe()


def test_the_page_runs_and_fits_the_width_of_the_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    namespace: dict = {"__name__": "__main__"}
    for source in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(source, "probes.md", "exec"), namespace)
    assert all(f"`{name}`" in text for name in set(ClassProbe.model_fields) - {"kind", "cadence"})
    assert max(len(line) for line in text.split("\n") if not line.startswith("|")) <= 100
