"""The film of an image model: what the class token looks at, patch by patch, on fixed samples."""

import numpy as np
import pytest
import torch

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.sites import Tape
from saltus.report import leap_film as module
from saltus.report.films.page import draw_film
from saltus.report.films.strip import strips
from saltus.report.leap_film import leap_film, tokens_attended
from saltus.report.patch_film import POOL, grid_of, indicators, on_patches, samples, those_shown
from saltus.report.publication import render
from saltus.runs import Run
from saltus.training.launch import start
from tiny_experiments import tiny

TASK = {"kind": "two-step-image", "variant": "T2"}  # roles that differ from sample to sample
VIT = {"kind": "vit", "depth": 2, "heads": 2, "width": 8, "patch": 4}
STEPS = 3


def trained(folder, **changes) -> Run:
    """Two seeds, and every state of them."""
    fields = {"task": TASK, "model": VIT, "batch": 4, "seeds": 2, "steps": STEPS,
              "instruments": [{"kind": "evaluation", "cadence": STEPS, "samples": POOL}],
              "checkpoints": {"at": list(range(STEPS + 1))}}  # fmt: skip
    return start(tiny(**{**fields, **changes}), folder)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("images"))


@pytest.fixture
def framed(monkeypatch):
    """Checkpoints stand for frames."""

    def frame(run, member, step):
        return {name: value[member].copy() for name, value in run.checkpoint(step).items()}

    monkeypatch.setattr(Run, "frames", lambda run, _: run.checkpoints())
    monkeypatch.setattr(Run, "frame", frame)


def looked(run, member, step, inputs):
    """Patterns of a plain module with the parameters of a checkpoint, {site: [sample, ...]}."""
    experiment = Experiment.from_yaml(run.experiment_yaml)
    net = experiment.model.build(experiment.task.interface)
    net.load_state_dict(
        {name: torch.from_numpy(value) for name, value in run.frame(member, step).items()}
    )
    tape = Tape(("blocks.*.attention.pattern",))
    with torch.no_grad():
        net(inputs, tape)
    return tape.values


def test_the_class_token_looks_at_patches_of_fixed_images(once, framed):
    run = once
    made = leap_film(run)
    assert [each.name for each in made.takes] == ["seed 0", "seed 1"]
    experiment = Experiment.from_yaml(run.experiment_yaml)
    for member, each in enumerate(made.takes):
        batch = samples(experiment, member)
        shown = those_shown(experiment, batch)
        assert list(shown) == ["z = 0", "z = 1"]
        assert [int(batch["z"][place]) for place in shown.values()] == [0, 1]
        first, second = (list(shown.values())[n] for n in (0, 1))
        assert [track.layer for track in each.tracks] == [
            "image, z = 0", "blocks.0, z = 0", "blocks.1, z = 0",
            "image, z = 1", "blocks.0, z = 1", "blocks.1, z = 1",
        ]  # fmt: skip
        picture, _, last = each.tracks[:3]
        np.testing.assert_allclose(
            picture.values[0, 0], batch["inputs"][first].amax(0).clamp(0, 1), atol=1e-6
        )
        for at, step in enumerate(each.steps):
            pattern = looked(run, member, step, batch["inputs"])["blocks.1.attention.pattern"]
            own = pattern[first, :, 0, 1:].reshape(2, 4, 4)
            np.testing.assert_allclose(last.values[at], own, atol=1e-6)
        # Two of the four cells carry indicators, one in each row: where, the sample says.
        for track, sample in ((last, first), (each.tracks[5], second)):
            cells = batch["roles"][sample].numpy() == 1
            np.testing.assert_array_equal(track.outlined, np.kron(cells, np.ones((2, 2))))
            assert track.outlined.sum() == 8
    assert "Outlined: the patches that carry an indicator" in made.caption


def test_the_samples_are_those_that_instruments_read(once, framed):
    run = once
    experiment = Experiment.from_yaml(run.experiment_yaml)
    for member in range(2):
        batch = samples(experiment, member)
        net = experiment.model.build(experiment.task.interface)
        net.load_state_dict(
            {name: torch.from_numpy(value) for name, value in run.frame(member, STEPS).items()}
        )
        with torch.no_grad():
            loss = experiment.task.loss(net(batch["inputs"]), batch).mean()
        read = run.series("evaluation/loss").values[member, -1]
        assert float(loss) == pytest.approx(read, rel=1e-5)


def test_a_seed_is_filmed_alone_as_among_others(once, framed, tmp_path):
    both = leap_film(once).takes[1]
    alone = leap_film(trained(tmp_path, seeds=[1])).takes[0]
    assert alone.name == both.name == "seed 1"
    for one, other in zip(alone.tracks, both.tracks, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_without_a_class_token_it_is_the_mean_over_queries(framed, tmp_path):
    run = trained(tmp_path, model={**VIT, "pooling": "mean", "depth": 1}, seeds=1, steps=STEPS)
    (each,) = leap_film(run).takes
    batch = samples(Experiment.from_yaml(run.experiment_yaml), 0)
    place = batch["z"].tolist().index(1)
    pattern = looked(run, 0, STEPS, batch["inputs"])["blocks.0.attention.pattern"]
    np.testing.assert_allclose(
        each.tracks[3].values[-1], pattern[place].mean(-2).reshape(2, 4, 4), atol=1e-6
    )
    np.testing.assert_allclose(each.tracks[3].values.sum((-2, -1)), 1, atol=1e-5)


def test_rectangular_patches_keep_the_grid_and_lose_the_outline():
    experiment = tiny(task=TASK, model={**VIT, "patch": [8, 4]}, instruments=[])
    tokens = tokens_attended(experiment)
    assert tokens == 9 and grid_of(experiment, tokens) == (2, 4)  # and no square of 3 x 3
    assert indicators(experiment, samples(experiment, 0), tokens, (2, 4)) is None


def test_page_and_paper_draw_it(once, framed):
    made = leap_film(once)
    page = draw_film(made)
    assert page.count("<canvas") == 2 * (1 + 2 * 2)  # for each sample the image, layers by heads
    rows = [row for strip in strips(made) for row in strip.rows]
    assert [len(row.tiles) for row in rows[:3]] == [1, STEPS + 1, STEPS + 1]
    assert all(render(strip, ".svg") for strip in strips(made))


def test_an_image_model_without_attention_has_no_film(once, framed, monkeypatch):
    assert tokens_attended(tiny(task=TASK, model="small-convnet", instruments=[])) is None
    monkeypatch.setattr(module, "tokens_attended", lambda _: None)
    assert leap_film(once) is None


def test_the_grid_is_told_or_refused():
    experiment = tiny(task=TASK, model=VIT, instruments=[])
    assert tokens_attended(experiment) == 17 and grid_of(experiment, 17) == (4, 4)
    with pytest.raises(SaltusError, match="19 tokens of model vit are not a square of patches"):
        grid_of(experiment, 19)
    weights = np.random.default_rng(0).random((1, 2, 17, 17))
    np.testing.assert_array_equal(
        on_patches(weights, (4, 4)).reshape(1, 2, 16), weights[..., 0, 1:]
    )
    assert module.frames_wanted(experiment) == module.MOST
