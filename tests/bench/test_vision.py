"""The ordinary vision transformer of the benchmark is ours: equal losses from equal weights."""

import pytest
import torch

from saltus.bench import vision
from saltus.bench.engine import mean_gap
from saltus.bench.matrix import Side
from saltus.studies.eureka.recipe import recipe
from saltus.training.ensemble import Ensemble

SMALL = {"seeds": [3, 5], "batch": 16, "evaluation_batch": 16, "engine.precision": "float64"}
ARM = recipe("quick")["softmax"].override(SMALL)


def taken_over(loop, values):
    """Gives a loop one member's weights, queries, keys and values fused into one product."""
    state = {}
    for name in loop.module.state_dict():
        if ".qkv." in name:
            parts = (name.replace("qkv", f"attention.{part}") for part in ("query", "key", "value"))
            state[name] = torch.cat([values[part] for part in parts])
        else:
            ours = name.replace(".output.", ".attention.output.")
            ours = ours.replace(".up.", ".mlp.input.").replace(".down.", ".mlp.output.")
            state[name] = values[ours]
    state["class_token"] = state["class_token"].unsqueeze(0)
    loop.module.load_state_dict(state)


@pytest.fixture
def sides():
    """The engine with two members, and a loop with the start of each."""
    ensemble = Ensemble(ARM.members())
    loops = [vision.Loop(ARM, seed) for seed in ensemble.seeds]
    for row, loop in enumerate(loops):
        own = {name: value[row].detach() for name, value in ensemble.parameters.items()}
        taken_over(loop, own)
    return ensemble, loops


def test_both_sides_have_as_many_parameters(sides):
    ensemble, loops = sides
    count = sum(value.numel() for value in loops[0].module.parameters())
    assert count == sum(leaf[0].numel() for leaf in ensemble.leaves)


def test_both_sides_train_alike(sides):
    """Equal batches, losses, groups without weight decay and rates, over a few steps."""
    ensemble, loops = sides
    for step in range(90, 95):
        losses = ensemble.differentiate(step)
        ensemble.update(step)
        for row, loop in enumerate(loops):
            found = loop.differentiate(step)
            loop.update(step)
            torch.testing.assert_close(found, losses[row], rtol=1e-9, atol=0)


def test_a_position_that_decays_would_be_seen(sides):
    """The groups are the arm's: no bias, norm, position or class token decays, all else does."""
    _, loops = sides
    names = {id(value): name for name, value in loops[0].module.named_parameters()}
    for group in loops[0].optimizer.param_groups:
        for value in group["params"]:
            name = names[id(value)]
            first = name.split(".")[0]
            still = "norm" in name or name.endswith("bias") or first in ("class_token", "position")
            assert group["weight_decay"] == (0 if still else 0.05), name


def test_steps_run_on_and_the_arm_is_the_study_s():
    setting = vision.Setting("cpu", 8)
    assert setting.experiment.seeds == tuple(range(8)) and setting.experiment.batch == 64
    assert setting.experiment.task == recipe("quick")["softmax"].task
    small = setting.experiment.override(SMALL)
    side, loop = Side(small, 2), vision.Loop(small)
    for contender in (side, loop):
        contender.step()
        contender.step()
        assert contender.number == 2


def test_what_is_measured_is_printed(capsys):
    rates = {"loop, 1 thread": 100.0, "engine, 2 workers": 250.0}
    cadence = ARM.instruments[0].cadence
    vision.show(
        {
            "setting": {"device": "cpu", "members": 8},
            "chunk": 4,
            "batch": 64,
            "seed_steps_per_second": rates,
            "least": rates,
            "most": rates,
            "ratio": 2.5,
            "ratio_same_processes": 1.25,
            "ratio_one_core": 1.5,
            "shares": {
                "drawing": 0.05,
                "instruments": {"evaluation": 1 / mean_gap(cadence, 1400), "norms": 0.01},
            },
        }
    )
    vision.show({"images_per_second": [[64, 123456.0]], "target": 100000})
    said = capsys.readouterr().out
    assert "engine, 2 workers         250.0 seed-steps/s (250.0 to 250.0 over rounds)" in said
    assert "over best single loop 2.50; over as many loop processes 1.25" in said
    assert "drawing 5.00%, the arm's instruments 3.07%, each read alone" in said
    assert "batches of   64     123,456 a second" in said
