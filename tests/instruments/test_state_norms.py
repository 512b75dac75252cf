"""Lengths of hidden states and the directions they fill."""

import math

import pytest
import torch

from saltus.instruments.state_norms import StateNorms, stable_rank


def test_norms_by_plain_loops(one, task):
    reading = one(dtype=torch.float64)
    results = StateNorms().read(reading)
    places = ("residual.pre", "attention.output", "residual.mid")
    sites = [f"blocks.{layer}.{place}" for layer in range(2) for place in places]
    assert results.keys() == {f"state-norm/{site}" for site in sites}
    for site in sites:
        norms = []
        for sample in reading.sites[site].tolist():
            norms += [math.hypot(*state) for state in sample[task.output_rows()]]
        assert results[f"state-norm/{site}"].item() == pytest.approx(sum(norms) / len(norms))


def test_norms_grow_with_the_states_and_stable_ranks_do_not(of_sites):
    states = torch.randn(4, 12, 16)

    def both(states):
        reading = of_sites(final=states)
        return StateNorms(sites=("final",), stable_rank=True).read(reading)

    one, three = both(states), both(-3 * states)
    torch.testing.assert_close(three["state-norm/final"], 3 * one["state-norm/final"])
    torch.testing.assert_close(three["stable-rank/final"], one["stable-rank/final"])


def test_stable_ranks_in_closed_form():
    direction = torch.randn(1, 16)
    collapsed = torch.randn(12, 1) * direction
    orthogonal = 3 * torch.eye(12, 16)
    two = torch.zeros(12, 16)
    two[0, 0], two[1, 1] = 2.0, 1.0
    found = stable_rank(torch.stack([collapsed, orthogonal, two, torch.zeros(12, 16)]))
    torch.testing.assert_close(found, torch.tensor([1.0, 12.0, 1.25, 0.0]))


def test_a_stable_rank_lies_between_1_and_the_rank():
    found = stable_rank(torch.randn(50, 3, 8))
    assert (found >= 1 - 1e-6).all() and (found <= 3 + 1e-5).all()


def test_the_prompt_is_left_out(of_sites, task):
    states = torch.zeros(2, 12, 4)
    states[:, : task.output_rows().start] = 5.0
    assert StateNorms(sites=("final",)).read(of_sites(final=states))["state-norm/final"] == 0
