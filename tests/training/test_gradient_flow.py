"""Gradient flow as an optimiser, against flows that are known in closed form."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.runs import open_run
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.gradient_flow import GradientFlow
from saltus.training.isolation import is_separable
from saltus.training.launch import check, create, start
from tiny_experiments import tiny
from training.bowls import FROZEN, point, stiffness

FLOW = {"kind": "gradient-flow", "duration": 2.0}
GOOD = {"optimizer": FLOW, "examples": 16, "instruments": [], "engine": {"precision": "float64"}}
ONE_SET = "follows the loss on a fixed training set: give examples, and batch equal to it"
ONE_GRID = "optimizer: give either duration (and first) or at"


def exact(u0, bottom, time, pull=1.0):
    """The point of a bowl at a time, if it is pulled with `pull` times its stiffness."""
    return bottom + (u0 - bottom) * torch.exp(-pull * stiffness() * time)


def bottom(ensemble: Ensemble) -> torch.Tensor:
    """Where the loss of each member on its training set is least."""
    return ensemble.training_batch(0)["targets"].mean((-3, -2))


def moved(experiment):
    """The ensemble and what follows it, at the last step."""
    ensemble = Ensemble(experiment.members())
    mover = Follower(ensemble)
    for step in range(experiment.steps):
        mover.update(step)
    return ensemble, mover


def close(actual, expected, atol=1e-8):
    torch.testing.assert_close(actual.detach(), expected, atol=atol, rtol=0)


# ---------------------------------------------------------------------------- settings


@given(steps=st.integers(1, 200), duration=st.floats(1e-3, 1e6))
def test_even_moments_end_exactly_and_are_evenly_spaced(steps, duration):
    times = GradientFlow(duration=duration).times(steps)
    assert len(times) == steps + 1 and times[0] == 0 and times[-1] == duration
    np.testing.assert_allclose(np.diff(times), duration / steps, rtol=1e-9)


@given(steps=st.integers(2, 200), duration=st.floats(1e-2, 1e6), share=st.floats(1e-6, 0.5))
def test_geometric_moments_rise_by_one_factor_from_the_first_to_the_last(steps, duration, share):
    first = duration * share
    times = GradientFlow(duration=duration, first=first).times(steps)
    assert len(times) == steps + 1 and times[0] == 0 and times[-1] == duration
    assert times[1] == pytest.approx(first, rel=1e-12)
    factor = (1 / share) ** (1 / (steps - 1))
    np.testing.assert_allclose(np.array(times[2:]) / times[1:-1], factor, rtol=1e-9)


def test_listed_moments_are_kept_and_one_geometric_step_goes_to_the_end():
    assert GradientFlow(at=(0.5, 0.75, 8)).times(3) == [0, 0.5, 0.75, 8]
    assert GradientFlow.model_validate({"at": ["1e-3", 2]}).times(2) == [0, 1e-3, 2]
    assert GradientFlow(duration=3.0, first=1.0).times(1) == [0, 3]


@pytest.mark.parametrize(
    ("flow", "problem"),
    [
        ({"duration": None}, ONE_GRID),
        ({"at": [1, 2, 3, 4]}, ONE_GRID),
        ({"duration": None, "at": [1, 2, 3, 4], "first": 1},
         "optimizer: first goes with duration, not with at"),
        ({"first": 2}, "optimizer: first 2 must lie before duration 2"),
        ({"duration": None, "at": [1, 2, 2, 3]}, "optimizer: at must rise"),
        ({"duration": None, "at": [0, 1, 2, 3]},
         "optimizer.at.0: 0 is not allowed: input should be greater than 0"),
        ({"duration": float("inf")},
         "optimizer.duration: inf is not allowed: input should be a finite number"),
        ({"rtol": 0.1}, "optimizer.rtol: 0.1 is not allowed: "
         "input should be less than or equal to 0.01"),
        ({"method": "euler"},
         "optimizer.method: 'euler' is not allowed: input should be 'dop853' or 'dopri5'"),
        ({"duration": None, "at": [1, 2, 3]},
         "optimizer (gradient-flow): at has 3 moments, steps is 4"),
        ({"learning_rate": 1}, "optimizer.learning_rate: unknown field 'learning_rate'. "
         "Allowed: at, atol, clock, duration, first, kind, method, rtol, weight_decay"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_in_one_line(flow, problem):
    with pytest.raises(SaltusError) as caught:
        tiny(**GOOD | {"optimizer": FLOW | flow})
    assert str(caught.value) == f"experiment: {problem}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"examples": None}, f"optimizer (gradient-flow): {ONE_SET}"),
        ({"examples": 32}, f"optimizer (gradient-flow): {ONE_SET}"),
        ({"interventions": ["heat-treatment"]},
         "optimizer (gradient-flow): interventions.0 (heat-treatment) changes what every step "
         "follows; the flow has one velocity, the gradient's"),
        ({"interventions": [{"kind": "gradient-rescaling", "mode": "mean"}]},
         "optimizer (gradient-flow): interventions.0 (gradient-rescaling) changes what every step "
         "follows; the flow has one velocity, the gradient's"),
        ({"interventions": [FROZEN, FROZEN | {"start": 3}]},
         "optimizer (gradient-flow): interventions.1 (freeze) starts at step 3; "
         "the flow has one velocity: allowed: 0"),
        ({"interventions": [FROZEN], "vary": {"interventions.0.start": [0, 2]}},
         "vary.interventions.0.start: optimizer (gradient-flow): interventions.0 (freeze) starts "
         "at step 2; the flow has one velocity: allowed: 0"),
        ({"vary": {"optimizer.rtol": [1e-5]}},
         "vary.optimizer.rtol: members cannot differ in it. "
         "Allowed: model.initial_scale, optimizer.weight_decay"),
    ],
)  # fmt: skip
def test_experiments_without_a_flow_are_refused_in_one_line(change, problem):
    with pytest.raises(SaltusError) as caught:
        tiny(**GOOD | change)
    assert str(caught.value) == f"experiment: {problem}"


def test_what_shows_only_when_it_is_built_is_refused_before_a_run_is_made(bowl, tmp_path):
    clocked = FLOW | {"clock": "model"}
    fine = bowl()
    still = bowl(flow={"clock": "model"}, model={"kind": "point", "initial_scale": 0})
    problems = {
        "engine.precision: float32 cannot follow a flow; allowed: float64": tiny(
            **GOOD | {"engine": {}}
        ),
        "optimizer.clock: model decoder has no rate of its own; allowed: time": tiny(
            **GOOD | {"optimizer": clocked}
        ),
        "optimizer.clock: model point starts with rate 0 for seed 0; allowed: time": still,
        "rtol: 1e-15 is not allowed: 2.220446049250313e-14 or more": tiny(
            **GOOD | {"optimizer": FLOW | {"rtol": 1e-15}}
        ),
    }
    check(fine)
    for problem, experiment in problems.items():
        with pytest.raises(SaltusError) as caught:
            create(experiment, tmp_path)
        assert str(caught.value) == problem
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------- where it goes


@pytest.mark.parametrize("method", ["dop853", "dopri5"])
@pytest.mark.parametrize("grid", [{}, {"first": 1e-3}, {"duration": None, "at": [1e-6, 0.3, 2]}])
def test_a_bowl_is_followed_to_every_moment(bowl, method, grid):
    experiment = bowl(flow={"method": method, **grid}, steps=3 if "at" in grid else 8)
    ensemble = Ensemble(experiment.members())
    mover, u0 = Follower(ensemble), point(ensemble.initial)
    times = experiment.optimizer.times(experiment.steps)
    for step, time in enumerate(times):
        losses = ensemble.differentiate(step)
        u = exact(u0, bottom(ensemble), time, pull=2)
        if step:  # before, the members still stand at 0: the loop restores or initialises them
            close(point(ensemble.parameters), u)
            batch = ensemble.training_batch(0)
            close(losses, ensemble.task.loss(u[:, None, None], batch).mean(-1))
        if step < experiment.steps:
            mover.update(step)


def test_the_error_follows_the_tolerance(bowl):
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        ensemble, _ = moved(bowl(flow={"rtol": rtol, "atol": rtol / 100}, steps=1))
        u = exact(point(ensemble.initial), bottom(ensemble), 2.0, pull=2)
        errors.append(float((point(ensemble.parameters) - u).detach().abs().max()))
    for rtol, error in zip((1e-4, 1e-6, 1e-8, 1e-10), errors, strict=True):
        assert error < 10 * rtol
    assert errors[-1] < 1e-4 * errors[0]


def test_what_is_fixed_or_frozen_stays_and_the_rest_moves_as_if_it_were_constant(bowl):
    ensemble, _ = moved(bowl(interventions=[FROZEN]))
    u0, initial = point(ensemble.initial), ensemble.initial
    for name in ("token.still", "position.shift"):
        assert ensemble.parameters[name].equal(initial[name]) and initial[name].all()
    close(point(ensemble.parameters), exact(u0, bottom(ensemble), 2.0))
    # Free, both parts of the sum take their halves.
    ensemble, _ = moved(bowl())
    steps = {name: ensemble.parameters[name] - initial[name] for name in initial}
    assert not steps["token.still"].any()
    close(steps["position.shift"], steps["readout.x"])


def test_weight_decay_pulls_every_member_with_its_own_strength(bowl):
    """x' = -k (x + f - b) - w x tends to k (b - f) / (k + w) with rate k + w."""
    strengths = [0.0, 0.5, 3.0]
    experiment = bowl(interventions=[FROZEN], vary={"optimizer.weight_decay": strengths}, seeds=2)
    ensemble, _ = moved(experiment)
    decay = torch.tensor(strengths).double().repeat_interleave(2).unsqueeze(1)
    rest = ensemble.initial["position.shift"] + ensemble.initial["token.still"]
    end = stiffness() * (bottom(ensemble) - rest) / (stiffness() + decay)
    x0 = ensemble.initial["readout.x"]
    expected = end + (x0 - end) * torch.exp(-(stiffness() + decay) * 2.0)
    close(ensemble.parameters["readout.x"], expected)
    for name in ("position.shift", "token.still"):  # decay does not move what is frozen either
        assert ensemble.parameters[name].equal(ensemble.initial[name])


def test_gradients_that_are_read_are_those_of_the_loss_alone(bowl):
    ensemble, _ = moved(bowl(flow={"weight_decay": 2.0}, interventions=[FROZEN]))
    ensemble.differentiate(ensemble.experiment.steps)
    pull = stiffness() * (point(ensemble.parameters) - bottom(ensemble))
    for name in ("readout.x", "position.shift"):
        close(ensemble.gradients[name], pull, atol=1e-12)


# ---------------------------------------------------------------------------- clocks and events


def test_the_clock_of_the_model_gives_every_member_its_own_time(bowl):
    plain = {"instruments": ["half"], "interventions": [FROZEN], "steps": 6}
    ensemble, mover = moved(bowl(flow={"clock": "model", "duration": 75.0}, **plain))
    rates = ensemble.initial["readout.x"].square().sum(-1)
    assert len(set(rates.tolist())) == 3
    times = (75.0 / rates).unsqueeze(1)
    close(point(ensemble.parameters), exact(point(ensemble.initial), bottom(ensemble), times))
    found = mover.progress(6)
    close(found["flow/time"], times[:, 0], atol=1e-12)
    # Events happen at one time, and on the clock at as many moments as there are rates.
    close(found["time/first"], log(2) / stiffness()[0] * rates, atol=1e-6)
    timed, other = moved(bowl(flow={"duration": 75.0 / float(rates.min())}, **plain))
    close(other.progress(6)["time/first"], torch.full((3,), log(2) / 0.25).double())
    assert timed.flat[rates.argmin()].equal(ensemble.flat[rates.argmin()])


def test_events_have_their_closed_forms_and_are_known_only_afterwards(bowl):
    experiment = bowl(instruments=["half"], steps=16)
    mover = Follower(ensemble := Ensemble(experiment.members()))
    moments = {"first": log(2) / 0.5, "eighth": log(2) / 4.0, "always": 0.0, "never": np.inf}
    for step, time in enumerate(mover.moments):
        found = mover.progress(step)
        for name, moment in moments.items():
            expected = moment if moment <= time else np.nan
            np.testing.assert_allclose(found[f"time/{name}"], expected, rtol=1e-9)
        if step < experiment.steps:
            mover.update(step)
    assert len(ensemble.members) == 3


def test_moments_asked_for_do_not_change_the_path_nor_the_events(bowl):
    often, rarely = (moved(bowl(instruments=["half"], steps=steps)) for steps in (40, 1))
    assert often[0].flat.equal(rarely[0].flat)
    mine, theirs = often[1].progress(40), rarely[1].progress(1)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert values.nan_to_num().equal(theirs[name].nan_to_num()), name


# ---------------------------------------------------------------------------- members


def test_members_of_a_bowl_are_stacked(bowl):
    assert is_separable(Ensemble(bowl(instruments=["half"]).members()[:1]))


def test_a_member_that_meets_its_pole_is_retired_and_changes_no_other(bowl, tmp_path):
    """u' = u^2 ends at 1 / max u(0): before 1.5 for the first and the third, never for others."""
    flow = {"duration": 1.5, "rtol": 1e-6}  # an end in a pole is many steps
    experiment = bowl(
        task="pole",
        flow=flow,
        interventions=[FROZEN],
        vary={"model.mean": [0.0, -10.0]},
        seeds=2,
        checkpoints={"every": 1},
    )
    members = experiment.members()
    u0 = point(Ensemble(members).initial)
    poles = (1 / u0.amax(-1)).tolist()
    assert [0 < pole < 1.5 for pole in poles] == [True, True, False, False]
    run = start(experiment, tmp_path)
    moments = experiment.optimizer.times(8)
    last = [sum(moment < pole for moment in moments) - 1 for pole in poles[:2]]
    assert run.status["diverged"] == {0: last[0], 1: last[1]}
    path = {step: run.checkpoint(step) for step in range(9)}
    for step, moment in enumerate(moments):
        u = point({name: torch.from_numpy(value) for name, value in path[step].items()})
        for row in range(4):
            if row > 1 or step <= last[row]:
                torch.testing.assert_close(u[row], 1 / (1 / u0[row] - moment), rtol=1e-3, atol=0)
            else:  # where it was
                assert all((v[row] == path[last[row]][n][row]).all() for n, v in path[step].items())
    healthy = members[2:]
    alone = start(bowl(**{
        "task": "pole", "flow": flow, "interventions": [FROZEN],
        "model": {"kind": "point", "mean": -10.0}, "seeds": [each.seed for each in healthy],
        "checkpoints": {"every": 1}, "name": "alone",
    }), tmp_path)  # fmt: skip
    for step in range(9):
        for name, value in alone.checkpoint(step).items():
            np.testing.assert_array_equal(value, path[step][name][2:])
    for name in ("loss/train", "flow/time", "flow/evaluations", "flow/rejected"):
        np.testing.assert_array_equal(alone.series(name).values, run.series(name).values[2:])


def test_a_velocity_that_is_not_finite_at_the_start(bowl, tmp_path):
    experiment = bowl(task="pole", vary={"model.mean": [-10.0, 1e300]}, seeds=1)
    run = start(experiment, tmp_path)
    assert run.status["diverged"] == {1: 0}
    assert run.status["state"] == "done"
    first, last = run.checkpoint(0), run.checkpoint(8)
    assert (first["readout.x"][1] == last["readout.x"][1]).all()
    assert np.isfinite(run.series("loss/train").values[0]).all()


# ---------------------------------------------------------------------------- what a run keeps


def test_a_run_reads_and_keeps_what_was_at_its_moments(bowl, tmp_path):
    experiment = bowl(
        instruments=["half", {"kind": "norms", "cadence": 3}],
        checkpoints={"every": 4},
    )
    run = open_run(start(experiment, tmp_path).path)
    ensemble = Ensemble(experiment.members())
    u0, where, moments = point(ensemble.initial), bottom(ensemble), np.linspace(0, 2, 9)
    left = run.series("left")
    assert left.steps.tolist() == list(range(9))
    np.testing.assert_allclose(left.values, np.exp(-0.5 * moments) * np.ones((3, 1)), rtol=1e-8)
    np.testing.assert_array_equal(run.series("signal/first").values, 0.5 - left.values)
    assert (run.series("signal/never").values == -1).all()
    assert run.series("norm/parameters").steps.tolist() == [0, 3, 6, 8]
    np.testing.assert_allclose(run.series("flow/time").values, moments * np.ones((3, 1)))
    evaluations = run.series("flow/evaluations").values
    assert (np.diff(evaluations) >= 0).all() and (evaluations[:, 0] == 2).all()
    assert (
        run.series("time/eighth").values[:, 1:] == run.series("time/eighth").values[:, 1:2]
    ).all()
    for step in (0, 4, 8):
        kept = {name: torch.from_numpy(value) for name, value in run.checkpoint(step).items()}
        close(point(kept), exact(u0, where, moments[step], pull=2))
    for step in (1, 5):
        with pytest.raises(SaltusError):
            run.checkpoint(step)
