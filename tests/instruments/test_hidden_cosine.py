"""Cosines between hidden states."""

import math

import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.hidden_cosine import HiddenCosine, pair_cosine
from saltus.tasks import Task
from saltus.tasks.addition import Addition
from saltus.tasks.concatenated_sums import ConcatenatedSums
from saltus.tasks.copying import Copy
from saltus.tasks.histogram import Histogram
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.permutation import Permutation
from saltus.tasks.prefix_sum import PrefixSum
from saltus.tasks.repeat import Repeat


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


@pytest.mark.parametrize(
    ("task", "across", "pairs"),
    [
        (MovingWindowSum(), False, [105]),
        (PrefixSum(), False, [105]),
        (Repeat(), False, [105]),
        (Repeat(blocks=2), False, [21, 21]),
        (Repeat(blocks=4), False, [3, 3, 3, 3]),
        (Addition(), False, [6]),
        (Copy(), False, [120]),
        (Permutation(), False, [120]),
        (Histogram(), False, [120]),
        (ConcatenatedSums(), False, [6, 10, 6]),
        (ConcatenatedSums(), True, [42, 30, 6]),
    ],
    ids=lambda value: value.kind if isinstance(value, Task) else str(value),
)
def test_the_papers_pairs(task, across, pairs):
    """With one state for all answers every pair counts 1, in columns as long as the groups say."""
    states = torch.ones(2, task.interface.positions, 3)
    states[:, : task.output_rows().start] = torch.randn(3)
    reading = Reading(task=task, parameters={}, sites={"final": states})
    instrument = HiddenCosine(across=across, columns=True)
    results = instrument.read(reading)
    torch.testing.assert_close(results["cosine/final"], torch.tensor(1.0))
    columns = results["cosine/final/columns"]
    torch.testing.assert_close(columns, torch.ones_like(columns))
    groups = [list(group) for group in task.state_groups()]
    counts = later_pairs(groups, across)
    assert [sum(count for _, count in own) for own in counts] == pairs
    assert len(columns) == sum(1 for own in counts for _, count in own if count)
    instrument.check(task)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    "task", [Repeat(length=12, blocks=3), ConcatenatedSums(), MovingWindowSum(length=6)], ids=repr
)
def test_groups_and_columns_by_plain_loops(task, across):
    states = torch.randn(3, task.interface.positions, 5, dtype=torch.float64)
    reading = Reading(task=task, parameters={}, sites={"final": states})
    results = HiddenCosine(across=across, columns=True).read(reading)
    groups = [list(group) for group in task.state_groups()]
    cosines = torch.nn.functional.cosine_similarity(states[:, :, None], states[:, None], dim=-1)
    per_group, columns = [], []
    for g, group in enumerate(groups):
        found = []
        for j in group:
            later = [i for i in group if i > j]
            if across:
                later += [i for other in groups[g + 1 :] for i in other]
            if later:
                columns.append(cosines[:, later, j].mean().item())
                found += [cosines[:, i, j].mean().item() for i in later]
        per_group.append(found)
    every = [value for found in per_group for value in found]
    assert results["cosine/final"].item() == pytest.approx(sum(every) / len(every))
    assert results["cosine/final/columns"].tolist() == pytest.approx(columns)
    names = {"cosine/final", "cosine/final/columns"}
    if len(groups) > 1:
        for g, found in enumerate(per_group):
            value = results[f"cosine/final/group-{g}"].item()
            assert value == pytest.approx(sum(found) / len(found))
            names.add(f"cosine/final/group-{g}")
    assert results.keys() == names


def test_positions_that_lie_apart_can_be_a_group(of_sites):
    task, states = Scattered(kind="scattered"), torch.randn(2, 9, 4)
    value = HiddenCosine().read(of_sites(task=task, final=states))["cosine/final"]
    torch.testing.assert_close(value, pair_cosine(states[:, [1, 4, 8]]).mean())


def test_all_answers_can_be_compared_whatever_the_task_names(of_sites):
    task, states = Repeat(length=4, blocks=2), torch.randn(2, 8, 4)
    results = HiddenCosine(skip_first=False).read(of_sites(task=task, final=states))
    assert results.keys() == {"cosine/final"}
    torch.testing.assert_close(results["cosine/final"], pair_cosine(states[:, 4:]).mean())


def later_pairs(groups, across):
    """For each state of each group, how many later ones it is compared with."""
    counts = []
    for g, group in enumerate(groups):
        beyond = sum(len(other) for other in groups[g + 1 :]) if across else 0
        counts.append([(j, len(group) - 1 - place + beyond) for place, j in enumerate(group)])
    return counts


def test_a_group_of_one_state_is_refused():
    with pytest.raises(ValueError, match="a cosine needs two states; task repeat leaves 1"):
        HiddenCosine().check(Repeat(length=4, blocks=2))


def test_bad_choices_are_refused(one):
    with pytest.raises(SaltusError, match="the model has no site 'fnal'"):
        HiddenCosine(sites=("fnal",)).read(one())
    with pytest.raises(ValueError, match="task moving-window-sum leaves 1"):
        HiddenCosine().check(MovingWindowSum(length=2))
    HiddenCosine(skip_first=False).check(MovingWindowSum(length=2))


class Plain(Task):
    """A task without answer rows."""


class Scattered(Task):
    """A task that names positions with gaps."""

    def state_groups(self):
        return ((1, 4, 8),)
