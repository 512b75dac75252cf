"""The norm-growth paper's language model: its size, its start, and the variants of its code."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import SILENT, Interface, initial_parameters
from saltus.models.language_model import VARIANTS, LanguageModel, variant
from saltus.training.ensemble import Ensemble

OUTSIDE = ("token.", "position.", "readout.")  # of the paper's encoder
TINY = {"depth": 2, "heads": 2, "width": 8, "hidden": 12}


def test_the_papers_encoder_has_37837824_parameters_and_its_norm_at_the_start():
    model = LanguageModel()
    module = model.build(Interface(11, 9, 11))
    own = initial_parameters(model, module, 0)
    encoder = [value for name, value in own.items() if not name.startswith(OUTSIDE)]
    assert sum(value.numel() for value in encoder) == 37_837_824
    # Uniform on +-a has a mean square of a^2 / 3, and a = 1 / sqrt(fan-in).
    per_block = 4 * 769 * 768 / 768 / 3 + 769 * 512 / 768 / 3 + 513 * 768 / 512 / 3 + 2 * 768
    expected = sqrt(12 * per_block)
    assert expected == pytest.approx(189.38, abs=5e-3)
    found = sqrt(sum(value.double().square().sum().item() for value in encoder))
    assert found == pytest.approx(expected, abs=0.01)
    # The spec's 188.9 is the same sum added up in single precision.
    assert found == pytest.approx(188.9, abs=0.6)


def test_every_parameter_has_pytorchs_own_start():
    model = LanguageModel(depth=2, heads=2, width=64, hidden=48)
    own = initial_parameters(model, model.build(Interface(50, 40, 30)), 3)
    for name, value in own.items():
        if "norm" in name:
            assert (value == (1.0 if name.endswith("weight") else 0.0)).all(), name
        elif name.startswith(("token.", "position.")):
            assert abs(value.std() - 1) < 5 / (2 * value.numel()) ** 0.5, name
        else:
            edge = (48 if "mlp.output" in name else 64) ** -0.5
            assert 0.8 * edge < value.abs().max() <= edge, name
            error = edge / (3 * value.numel()) ** 0.5
            assert abs(value.mean()) < 5 * error, name


def test_vectors_enter_through_a_linear_layer_with_the_start_of_one():
    model = LanguageModel(depth=1, heads=2, width=64, hidden=8)
    own = initial_parameters(model, model.build(Interface(0, 5, 1, features=9)), 0)
    assert 0.9 / 3 < own["token.weight"].abs().max() <= 1 / 3


def test_unscaled_heads_with_a_learned_temperature_start_at_one():
    for scaled, tau in ((True, 0.5 * torch.tensor(32.0).log().item()), (False, 0.0)):
        model = LanguageModel(depth=1, heads=2, width=64, attention="learned-temperature",
                              scaled=scaled)  # fmt: skip
        own = initial_parameters(model, model.build(Interface(5, 5, 5)), 0)
        assert own["blocks.0.attention.log_temperature"].tolist() == pytest.approx([tau, tau])


# Section 3.4 of the spec: biases, LayerNorm, scores / sqrt(d), dropout.
TABLE = {
    "pre_norm": (True, "branch-out", True, 0),
    "bias_scaled": (True, "branch-out", True, 0),
    "control": (True, "post", True, 0),
    "no_scale": (True, "post", False, 0),
    "bias": (True, "branch-out", False, 0),
    "post_ln": (False, "post", False, 0),
    "si_softmax": (False, "branch-out", False, 0),
    "si_softmax_scaled": (False, "branch-out", True, 0),
    "si_drop": (False, "branch-out", False, 0.1),
    "bias_scaled_drop": (True, "branch-out", True, 0.1),
    "bias_scaled_drop3": (True, "branch-out", True, 0.3),
    "control_drop": (True, "post", True, 0.1),
    "control_rel": (True, "post", True, 0),
    "bias_scaled_rel": (True, "branch-out", True, 0),
    "vaswani": (True, "post", True, 0.1),
}


def test_the_variants_are_those_of_the_table():
    assert list(VARIANTS) == list(TABLE)
    for name, (biases, norm, scaled, dropout) in TABLE.items():
        for preset in ("authors", "corrected"):
            model = variant(name, preset)
            assert (model.norm, model.scaled, model.dropout) == (norm, scaled, dropout)
            assert {model.qkv_bias, model.output_bias, model.mlp_bias} == {biases}
            assert model.norm_bias and model.readout_bias
            assert (model.depth, model.heads, model.width, model.hidden) == (12, 12, 768, 512)
            assert model.is_causal == (preset == "corrected")
            across = name == "vaswani" and preset == "authors"
            assert model.across_batch == across
            leaks = preset == "authors" and not across
            assert model.mask == ("multiplicative" if leaks else "negative-infinity")


def test_flags_without_effect_change_nothing():
    assert variant("control_rel") == variant("control")
    assert variant("bias_scaled_rel") == variant("bias_scaled") == variant("pre_norm")
    assert variant("pre_norm", "corrected") == LanguageModel()


@pytest.mark.parametrize("preset", ["authors", "corrected"])
@pytest.mark.parametrize("name", ["pre_norm", "control_drop", "si_drop", "vaswani"])
def test_a_variant_trains_the_same_alone_and_in_a_stack(name, preset):
    model = {**variant(name, preset, **TINY, initial_scale=1.0).model_dump()}
    task = {"kind": "moving-window-sum", "length": 4, "alphabet": 4, "modulus": 5}
    experiment = Experiment.of(
        {"task": task, "model": model, "steps": 2, "batch": 4, "seeds": 3,
         "engine": {"workers": 1}}
    )  # fmt: skip
    together = trained(experiment.members())
    assert together.isfinite().all()
    for row, member in enumerate(experiment.members()):
        torch.testing.assert_close(trained([member])[0], together[row])


def trained(members):
    ensemble = Ensemble(members)
    for step in range(2):
        ensemble.differentiate(step)
        ensemble.update(step)
    return ensemble.flat.detach()


def test_vaswani_looks_at_the_other_samples_of_its_own_member_at_its_own_position():
    model = variant("vaswani", **TINY)
    module = model.build(Interface(7, 5, 7))
    own = [initial_parameters(model, module, seed) for seed in range(2)]
    stacked = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    tokens = torch.randint(7, (2, 3, 5))
    changed = tokens.clone()
    changed[0, 1, 2] = (changed[0, 1, 2] + 1) % 7
    before, after = (functional_call(module, stacked, (ids, SILENT)) for ids in (tokens, changed))
    moved = (before != after).any(-1)
    expected = torch.zeros(2, 3, 5, dtype=torch.bool)
    expected[0, :, 2] = True
    assert moved.equal(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variant("prenorm"), "unknown variant 'prenorm'; did you mean 'pre_norm'?"),
        (lambda: variant("bias", "paper"), "preset: 'paper' is not allowed: authors or corrected"),
        (lambda: variant("bias", widht=3), "variant bias: widht: unknown field 'widht'; did you"),
        (lambda: variant("bias", heads=5), "variant bias: width 768 must be a multiple of heads 5"),
        (
            lambda: variant("bias", across="batch"),
            "variant bias: across batch has no order to mask",
        ),
        (lambda: variant("bias", causal=False), "variant bias: mask multiplicative is for causal"),
    ],
    ids=["name", "preset", "field", "heads", "across", "causal"],
)
def test_what_cannot_be_is_refused_in_one_line(call, message):
    with pytest.raises(SaltusError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
