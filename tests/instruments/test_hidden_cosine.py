"""Cosines between hidden states."""

import math

import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.hidden_cosine import HiddenCosine, pair_cosine
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum


def cosine(of_sites, states, **fields):
    return HiddenCosine(**fields).read(of_sites(final=states))["cosine/final"]


def test_equal_states_have_cosine_1_and_orthogonal_ones_0(of_sites):
    same = torch.randn(4, 1, 16).expand(4, 12, 16) * torch.rand(4, 12, 1).add(0.1)
    torch.testing.assert_close(cosine(of_sites, same), torch.tensor(1.0))
    orthogonal = 3 * torch.eye(12, 16).expand(4, 12, 16)
    torch.testing.assert_close(cosine(of_sites, orthogonal), torch.tensor(0.0))


def test_opposite_pairs_and_zero_states():
    states = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(pair_cosine(states), torch.tensor(-1 / 3))


def test_the_papers_105_pairs():
    """n = 16 answers without the first leave 15 states: one aligned pair is 1 of 105."""
    task = MovingWindowSum()
    states = torch.eye(33, 64)[None].clone()
    rows = range(33)[task.output_rows()]
    states[0, rows[5]] = states[0, rows[9]]
    states[0, rows[0]] = states[0, rows[1]]  # left out
    states[0, 3] = states[0, 4]  # the prompt
    reading = Reading(task=task, parameters={}, sites={"final": states})
    for skip_first, expected in ((True, 1 / 105), (False, 2 / 120)):
        found = HiddenCosine(skip_first=skip_first).read(reading)["cosine/final"]
        assert found.item() == pytest.approx(expected)


def test_every_site_that_matches_by_plain_loops(one):
    reading = one(dtype=torch.float64)
    results = HiddenCosine(sites=("final", "blocks.*.residual.post")).read(reading)
    sites = ("final", "blocks.0.residual.post", "blocks.1.residual.post")
    assert results.keys() == {f"cosine/{site}" for site in sites}
    for site in sites:
        values = []
        for sample in reading.sites[site].tolist():
            for i in range(7, 12):  # answers after the first
                for j in range(7, i):
                    dot = sum(a * b for a, b in zip(sample[i], sample[j], strict=True))
                    values.append(dot / math.hypot(*sample[i]) / math.hypot(*sample[j]))
        assert results[f"cosine/{site}"].item() == pytest.approx(sum(values) / len(values))


def test_all_positions_where_the_task_has_no_answer_rows(of_sites):
    reading = of_sites(task=Plain(kind="plain"), final=torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    value = HiddenCosine().read(reading)["cosine/final"]
    torch.testing.assert_close(value, torch.tensor(0.5**0.5))


def test_bad_choices_are_refused(one):
    with pytest.raises(SaltusError, match="the model has no site 'fnal'"):
        HiddenCosine(sites=("fnal",)).read(one())
    with pytest.raises(ValueError, match="task moving-window-sum leaves 1"):
        HiddenCosine().check(MovingWindowSum(length=2))
    HiddenCosine(skip_first=False).check(MovingWindowSum(length=2))


class Plain(Task):
    """A task without answer rows."""
