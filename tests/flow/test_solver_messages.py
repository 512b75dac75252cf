"""What cannot be integrated is refused in one line that names field, value and what is allowed."""

import math
import re

import pytest
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.integrator import Integrator
from saltus.flow.reference import reference
from saltus.flow.solve import solve

ONE = torch.ones(1, 1, dtype=torch.float64)


def decay(y: Tensor) -> Tensor:
    return -y


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"times": [1.0, 0.5]}, "times: 0.5 after 1.0 in row 0 is not allowed"),
        ({"times": [-1.0]}, "times: -1.0 after 0.0 in row 0 is not allowed"),
        ({"times": [math.nan]}, "times: nan after 0.0 in row 0 is not allowed"),
        ({"times": [math.inf]}, "times: inf after 0.0 in row 0 is not allowed"),
        ({"times": []}, "times: [1, 0] is not allowed: [time], or [row, time] with 1 rows"),
        ({"times": torch.ones(2, 1)}, "times: [2, 1] is not allowed"),
        ({"start": torch.ones(1, 1, 1)}, "start: [1, 1, 1] is not allowed: [row, state]"),
        ({"start": torch.ones(1, 1)}, "start: [1, 1] in torch.float32 is not allowed"),
        ({"start": ONE[:, :0]}, "start: [1, 0] in torch.float64 is not allowed"),
        ({"start": ONE * math.inf}, "start: row 0 holds NaN or infinity; allowed: finite"),
        ({"rtol": 0.0}, "rtol: 0.0 is not allowed: 2.22"),
        ({"rtol": 1e-15}, "rtol: 1e-15 is not allowed: 2.22"),
        ({"rtol": math.nan}, "rtol: nan is not allowed"),
        ({"atol": 0.0}, "atol: 0.0 is not allowed: a positive number"),
        ({"atol": -1.0}, "atol: -1.0 is not allowed: a positive number"),
        ({"method": "dopri8"}, "method: unknown method 'dopri8'; did you mean 'dopri5'?"),
        ({"largest": 0}, "largest: 0 is not allowed: 1 or more"),
        ({"looks": -1}, "looks: -1 is not allowed: 0 or more"),
        ({"events": {"x": lambda y: y}}, "events.x: gave [1, 1]; allowed: [row], here [1]"),
        ({"function": lambda y: y[:, :0]}, "velocity: gave [1, 0] in torch.float64 for states"),
        ({"function": lambda y: y.float()}, "velocity: gave [1, 1] in torch.float32 for states"),
    ],
)
def test_bad_problems(wrong: dict, message: str) -> None:
    problem = {"function": decay, "start": ONE, "times": [1.0], **wrong}
    with pytest.raises(SaltusError, match=re.escape(message)) as caught:
        solve(**problem)
    assert "\n" not in str(caught.value)


def test_bad_calls_of_the_integrator() -> None:
    def integrator(**options: object) -> Integrator:
        return Integrator(lambda rows, y: -y, ONE.expand(2, 1), end=[1.0, 2.0], **options)

    good = integrator()
    good.at([0.5, 0.25])
    for times, message in (
        ([0.5], "times: 1 for 2 rows; allowed: one for each"),
        ([0.4, 0.5], "times: 0.4 for row 0 is not allowed: from 0.5"),
        ([0.6, 2.5], "times: 2.5 for row 1 is not allowed: from 0.25, the last time asked for, to"),
        ([math.nan, 1.0], "times: nan for row 0"),
    ):
        with pytest.raises(SaltusError, match=re.escape(message)):
            good.at(times)
    # A refused call changes nothing.
    assert good.at([0.5, 0.25])[:, 0].tolist() == pytest.approx([math.exp(-0.5), math.exp(-0.25)])
    for options, message in (
        ({"events": 1}, "events: 1 without signals is not allowed: one for each signal"),
        ({"signals": lambda rows, y: y}, "events: 0 with signals is not allowed"),
        ({"signals": lambda rows, y: y, "events": 2}, "signals: gave [2, 1] for 2 rows"),
    ):
        with pytest.raises(SaltusError, match=re.escape(message)):
            integrator(**options)
    with pytest.raises(SaltusError, match="end: 1 times for 2 rows"):
        Integrator(lambda rows, y: -y, ONE.expand(2, 1), end=[1.0])
    with pytest.raises(SaltusError, match=r"end: -1\.0 for row 0 is not allowed"):
        Integrator(lambda rows, y: -y, ONE, end=[-1.0])


def test_the_reference_refuses_the_same() -> None:
    with pytest.raises(SaltusError, match=r"rtol: 0\.0 is not allowed"):
        reference(decay, ONE, [1.0], rtol=0.0)
    with pytest.raises(SaltusError, match=r"times: 0\.5 after 1\.0"):
        reference(decay, ONE, [1.0, 0.5])
