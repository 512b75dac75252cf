"""The microscope: every leap is covered from its beginning, whoever trains beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment, Microscope
from saltus.runs import Run, open_run, verify
from saltus.training.launch import start
from saltus.training.microscope import Director
from training.leaping import leaping, well

__all__ = ["well"]

NOISE = 0.01


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real flushing: nothing is killed here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def leap(steps: int, at: float, width: float, seed: int = 0) -> np.ndarray:
    """Losses that fall from 2.6 to 1.3 in `width` steps from `at` on, and noise."""
    fall = np.clip((np.arange(steps) - at) / width, 0, 1)
    return 2.6 - 1.3 * fall + NOISE * np.random.default_rng(seed).normal(size=steps)


def filmed(losses: np.ndarray, frames: int = 32, every: int = 1) -> list[list[int]]:
    """The steps of each member's frames; losses [step, member]."""
    director = Director(losses.shape[1], frames, every)
    found: list[list[int]] = [[] for _ in range(losses.shape[1])]
    for step, each in enumerate(losses):
        for row, at in director.shots(step, each):
            found[row].append(at)
    return found


@settings(max_examples=8)
@given(
    at=st.integers(40, 300),
    moments=st.integers(20, 60),
    every=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 99),
)
def test_twenty_frames_or_more_lie_across_a_leap_of_twenty_moments(at, moments, every, seed):
    at, width = at * every, moments * every
    losses = leap(at + 2 * width + 30 * every, at, width, seed)
    (steps,) = filmed(losses[:, None], every=every)
    across = [step for step in steps if at <= step <= at + width]
    assert len(across) >= 20, (steps, at, width)
    assert all(step % every == 0 for step in steps)
    assert steps == sorted(set(steps))


def test_frames_begin_on_the_plateau_and_end_when_the_leap_has_come_to_rest():
    (steps,) = filmed(leap(400, 200, 40)[:, None])
    assert steps[0] <= 200 and 240 <= steps[-1] < 320


def test_no_leap_no_frames():
    steps = np.arange(500)
    noise = NOISE * np.random.default_rng(0).normal(size=500)
    ramp = 2.6 - steps / 500
    spike = 2.6 + np.where(steps == 250, -1.0, 0.0)
    power = 3 * (1.0 + steps) ** -0.1
    assert filmed(np.stack([ramp, spike, power], axis=1) + noise[:, None]) == [[], [], []]


@pytest.mark.parametrize("width", [100, 400, 1000])
def test_a_slow_leap_takes_logarithmically_many(width):
    (steps,) = filmed(leap(3 * width + 100, 2 * width, width)[:, None])
    spacings = np.diff(steps)
    assert set(spacings) <= {2**k for k in range(20)}
    rises = spacings[32:]
    assert (np.diff(rises) >= 0).all()
    # After the memory, 32 frames for each doubling of what they span.
    assert len(steps) <= 32 + 32 * np.ceil(np.log2(1 + (steps[-1] - steps[0]) / 32))


def test_two_leaps_of_a_member_have_their_frames_each():
    two = leap(800, 200, 30) + leap(800, 500, 30, seed=1)
    (steps,) = filmed(two[:, None])
    early = [step for step in steps if step < 400]
    assert early[0] <= 200 <= 230 <= early[-1] < 300
    late = [step for step in steps if step >= 400]
    assert late[0] <= 500 <= 530 <= late[-1] < 600


@settings(max_examples=4)
@given(st.lists(st.tuples(st.integers(30, 150), st.integers(1, 60)), min_size=2, max_size=4))
def test_the_frames_of_a_member_do_not_depend_on_who_trains_beside_it(leaps):
    losses = np.stack([leap(250, *each, seed=k) for k, each in enumerate(leaps)], axis=1)
    losses[220:, 1] = np.nan
    together = filmed(losses, frames=8, every=2)
    assert together == [filmed(losses[:, k : k + 1], 8, 2)[0] for k in range(len(leaps))]
    assert filmed(losses[:, ::-1], 8, 2) == together[::-1]


def test_a_member_that_diverges_in_its_leap_has_no_frames_from_there_on():
    losses = leap(600, 300, 200)
    losses[400:] = np.nan
    losses[401] = -np.inf
    losses[402] = np.inf
    (steps,) = filmed(losses[:, None])
    assert 300 < max(steps) < 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A decoder's; the steps are some of its leaps."""
    checkpoints = {"at": [90, 107, 121, 140], "microscope": {}}
    return start(leaping(checkpoints=checkpoints), tmp_path_factory.mktemp("run"))


def test_both_members_of_a_real_training_are_caught(run: Run) -> None:
    for member, (onset, said) in enumerate(((121, 132), (90, 107))):
        steps = run.frames(member)
        assert steps[0] <= onset < said
        assert len([step for step in steps if step >= onset]) >= 20
    report = verify(run.path)
    assert report.ok and report.notes == [] and run.damage == []
    assert report.checked["frames"] == len(run.frames(0) + run.frames(1))


def test_a_frame_is_the_state_before_the_update_of_its_step(run: Run) -> None:
    shared = [(m, step) for m in (0, 1) for step in run.checkpoints() if step in run.frames(m)]
    assert len(shared) >= 4
    for member, step in shared:
        whole, frame = run.checkpoint(step), run.frame(member, step)
        assert frame.keys() == whole.keys()
        for name, value in frame.items():
            assert value.dtype == whole[name].dtype
            assert np.array_equal(value, whole[name][member]), (name, step)


def test_the_microscope_changes_no_training_by_one_bit(run: Run, tmp_path: Path) -> None:
    without = start(leaping(checkpoints={"at": run.checkpoints()}), tmp_path)
    assert without.frames(0) == without.frames(1) == []
    assert not without.files(0).frames_log.exists()
    for step in run.checkpoints():
        if step in without.checkpoints():
            ours, theirs = (each.files(0).checkpoint(step).read_bytes() for each in (run, without))
            assert ours == theirs, step


def test_what_is_not_there_is_refused_in_one_line(run: Run) -> None:
    with pytest.raises(SaltusError, match="member 2 is not allowed: 0 to 1"):
        run.frames(2)
    with pytest.raises(SaltusError, match=r"member 0 has no frame of step 3; allowed: \d+, "):
        run.frame(0, 3)


FLOW = {"kind": "gradient-flow", "duration": 36.0, "rtol": 1e-4, "atol": 1e-8}


@pytest.mark.parametrize("flows", [False, True], ids=["descent", "gradient flow"])
def test_frames_are_the_same_files_alone_and_in_a_stack(
    well: Callable[..., Experiment], tmp_path: Path, flows: bool
) -> None:
    changes = {"optimizer": FLOW} if flows else {}
    engine = {"workers": 1, "precision": "float64" if flows else "float32"}
    together = start(well(**changes, seeds=[2, 0, 1], engine=engine), tmp_path / "together")
    assert len(together.shards) == 1
    chunks = start(well(**changes, engine={**engine, "chunk": 2}), tmp_path / "chunks")
    assert len(chunks.shards) == 2
    for seed, member in enumerate((1, 2, 0)):
        (leap,) = together.transitions("loss/train")[member]
        steps = together.frames(member)
        assert leap.onset and leap.end and steps[0] <= leap.onset
        across = sum(leap.onset <= step <= leap.end for step in steps)
        assert across >= min(20, int(leap.end - leap.onset))
        alone = start(well(**changes, engine=engine, seeds=[seed]), tmp_path / str(seed))
        assert alone.frames(0) == chunks.frames(seed) == steps
        for step in steps:
            own = alone.files(0).frame(0, step).read_bytes()
            assert own == together.files(0).frame(member, step).read_bytes()
            shard = chunks.members[seed]["shard"]
            assert own == chunks.files(shard).frame(seed, step).read_bytes()


@pytest.mark.parametrize(("field", "value"), [("frames", 1), ("every", 0), ("width", 3)])
def test_bad_settings_are_refused_in_one_line(field: str, value: int) -> None:
    data = leaping().data()
    data["checkpoints"]["microscope"][field] = value
    with pytest.raises(SaltusError, match=rf"checkpoints\.microscope\.{field}") as caught:
        Experiment.of(data)
    assert "\n" not in str(caught.value)


def test_more_memory_than_there_is_is_refused_in_one_line(
    well: Callable[..., Experiment], tmp_path: Path
) -> None:
    with pytest.raises(SaltusError, match=r"microscope\.frames: \d+ is not allowed: .* GB, more"):
        start(well(checkpoints={"microscope": {"frames": 10**13}}), tmp_path)


def test_the_spacing_is_a_thousandth_of_the_run_if_not_given() -> None:
    assert [Microscope().spacing(steps) for steps in (5, 999, 2000, 12345)] == [1, 1, 2, 12]
    assert Microscope(every=7).spacing(100_000) == 7


def test_frames_are_read_while_the_run_is_not_finished(
    well: Callable[..., Experiment], tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step == 75:
            raise Enough

    with pytest.raises(Enough):
        start(well(checkpoints={"microscope": {}, "rescue": 24}), tmp_path, stop)
    (run,) = (open_run(path) for path in tmp_path.iterdir())
    steps = run.frames(0)
    assert max(steps) <= 72 and run.frame(0, steps[-1])
    report = verify(run.path)
    assert report.ok and any("is not in the list of frames" in note for note in report.notes)
