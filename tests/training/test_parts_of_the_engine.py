"""Layout, schedules, freezing, foreign modules, and the plan."""

from __future__ import annotations

from math import cos, pi
from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.base import Interface, Model, Start
from saltus.training.ensemble import Ensemble
from saltus.training.layout import ALIGNMENT, Layout
from saltus.training.plan import plan
from saltus.training.schedules import Schedule
from tiny_experiments import BASE, tiny

shapes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.lists(st.integers(1, 7), max_size=3).map(tuple),
    min_size=1,
    max_size=6,
)


@given(shapes, st.integers(1, 4))
def test_views_tile_the_buffer_without_overlap_and_on_cache_lines(sizes, members):
    layout = Layout(sizes, torch.float32)
    flat = torch.zeros(members, layout.size)
    for index, (name, view) in enumerate(layout.views(flat).items()):
        assert view.shape == (members, *sizes[name])
        assert view.data_ptr() % ALIGNMENT == flat.data_ptr() % ALIGNMENT
        assert not view.any()
        view += index + 1
    used = sum(torch.Size(shape).numel() for shape in sizes.values())
    assert int((flat != 0).sum()) == members * used


@given(shapes, st.data())
def test_pieces_cover_exactly_what_is_not_left_out(sizes, data):
    layout = Layout(sizes, torch.float32)
    left_out = set(data.draw(st.lists(st.sampled_from(sorted(sizes)), unique=True)))
    marks = torch.zeros(layout.size, dtype=torch.bool)
    for piece in layout.pieces(left_out):
        assert not marks[piece].any()
        marks[piece] = True
    for name, (start, end) in layout.spans.items():
        assert bool(marks[start:end].all()) is (name not in left_out)
        assert bool(marks[start:end].any()) is (name not in left_out)


def test_schedules_have_their_closed_forms():
    assert [Schedule(warmup=4).at(step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert Schedule(shape="linear").at(25, 100) == pytest.approx(0.75)
    assert Schedule(shape="linear", final=0.1).at(100, 100) == pytest.approx(0.1)
    assert Schedule(shape="cosine").at(30, 100) == pytest.approx((1 + cos(0.3 * pi)) / 2)
    root = Schedule(shape="inverse-sqrt", warmup=100)
    assert root.at(99, 1000) == 1 and root.at(399, 1000) == pytest.approx(0.5)


def test_the_decay_of_the_loss_plateau_paper_ends_before_the_run():
    """Linear warm-up over 200 steps, cosine to 0 at 400; or warm-up and then constant."""
    schedule = Schedule(shape="cosine", warmup=200, until=400)
    assert [schedule.at(step, 1000) for step in (0, 99, 199)] == [1 / 200, 0.5, 1.0]
    assert schedule.at(300, 1000) == pytest.approx(0.5)
    assert {schedule.at(step, 1000) for step in (400, 401, 999)} == {0.0}
    same = Schedule(shape="cosine", warmup=200)
    assert [schedule.at(step, 1000) for step in range(400)] == [same.at(s, 400) for s in range(400)]
    assert {Schedule(warmup=200).at(step, 1000) for step in range(199, 1000)} == {1.0}


@pytest.mark.parametrize(
    "given,message",
    [
        ({"until": 5}, "until goes with linear or cosine; constant has no end"),
        ({"until": 5, "shape": "inverse-sqrt"}, "inverse-sqrt has no end"),
        ({"until": 5, "shape": "linear", "warmup": 5}, "until 5 must lie after warmup 5"),
    ],
)
def test_an_end_that_is_none_is_refused(given, message):
    with pytest.raises(SaltusError, match=message) as caught:
        tiny(optimizer={"kind": "adam", "learning_rate": 1e-3, "schedule": given})
    assert str(caught.value).startswith("experiment: optimizer.schedule: ")


@given(st.sampled_from(["constant", "linear", "cosine", "inverse-sqrt"]), st.integers(0, 50))
def test_schedules_stay_in_the_unit_interval(shape, warmup):
    schedule = Schedule(shape=shape, warmup=warmup)
    values = [schedule.at(step, 100) for step in range(100)]
    assert all(0 <= value <= 1 for value in values)
    assert values[:warmup] == sorted(values[:warmup])


def test_frozen_groups_do_not_move_and_the_rest_moves_as_if_they_were_constants():
    frozen = {"kind": "freeze", "groups": ["attention", "embeddings.token"], "start": 2}
    experiment = tiny(interventions=[frozen], optimizer={"kind": "adamw", "learning_rate": 1e-2})
    ensemble = Ensemble(experiment.members())
    start = ensemble.flat.detach().clone()
    for step in range(5):
        if step == 2:
            start = ensemble.flat.detach().clone()
        ensemble.differentiate(step)
        ensemble.update(step)
    before, now = ensemble.layout.views(start), ensemble.parameters
    for name, value in now.items():
        still = name.startswith("token") or ".attention." in name
        assert torch.equal(value, before[name]) is still, name


class Foreign(nn.Module):
    """An ordinary module that knows nothing of members or tapes."""

    def __init__(self, interface: Interface) -> None:
        super().__init__()
        self.token = nn.Embedding(interface.vocabulary, 8)
        self.mixer = nn.Linear(8, 8)
        self.readout = nn.Linear(8, interface.outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(torch.tanh(self.mixer(self.token(tokens)).cumsum(-2)))


class ForeignModel(Model):
    """Its record."""

    stackable: ClassVar[bool] = False
    kind: Literal["foreign"] = "foreign"

    def build(self, interface: Interface) -> nn.Module:
        return Foreign(interface)

    def start(self, name: str) -> Start:
        return Start(0.3)


# Other tests list what there is: this one is known only where it is asked for.
del Model.registry["foreign"]


def test_any_plain_module_is_an_ensemble_and_keeps_its_bits(monkeypatch):
    monkeypatch.setitem(Model.registry, "foreign", ForeignModel)
    experiment = tiny(model={"kind": "foreign"}, instruments=[{"kind": "evaluation"}], seeds=4)
    together = Ensemble(experiment.members())
    singles = [Ensemble([member]) for member in experiment.members()]
    for step in range(4):
        for ensemble in (together, *singles):
            ensemble.differentiate(step)
            ensemble.update(step)
    for row, single in enumerate(singles):
        assert torch.equal(together.flat[row], single.flat[0])


@given(st.integers(1, 40), st.integers(1, 4), st.one_of(st.just("auto"), st.integers(1, 50)))
def test_the_plan_gives_every_member_to_exactly_one_shard(count, workers, chunk):
    experiment = Experiment.of(
        {**BASE, "seeds": count, "engine": {"workers": workers, "chunk": chunk}}
    )
    chosen = plan(experiment)
    assert [k for shard in chosen.shards for k in shard] == list(range(count))
    assert all(chosen.shards) and 1 <= chosen.workers <= min(workers, len(chosen.shards))
    if chunk != "auto":
        assert max(map(len, chosen.shards)) <= chunk


def test_running_statistics_are_refused_in_one_line(monkeypatch):
    class Normed(Foreign):
        def __init__(self, interface: Interface) -> None:
            super().__init__(interface)
            self.normal = nn.BatchNorm1d(8)

    monkeypatch.setitem(Model.registry, "foreign", ForeignModel)
    monkeypatch.setattr(ForeignModel, "build", lambda self, interface: Normed(interface))
    with pytest.raises(SaltusError, match=r"model foreign: buffer normal\.running_mean changes"):
        Ensemble(tiny(model={"kind": "foreign"}, instruments=[]).members())
