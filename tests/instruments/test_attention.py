"""Entropy, progress and maps of attention patterns."""

import dataclasses
import math

import pytest
import torch
from torch.func import vmap

from saltus.errors import SaltusError
from saltus.instruments.attention_entropy import AttentionEntropy, visible_keys
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.attention_progress import AttentionProgress
from saltus.instruments.base import Reading
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.permutation import Permutation

uniform = torch.full((2, 3, 9, 9), 1 / 9)
causal = torch.ones(2, 3, 9, 9).tril() / torch.arange(1, 10).unsqueeze(-1)
one_hot = torch.eye(9).expand(2, 3, 9, 9)


def entropy(of_sites, pattern, normalised=False):
    reading = of_sites(blocks__0__attention__pattern=pattern)
    (value,) = AttentionEntropy(normalised=normalised).read(reading).values()
    return value


def test_entropy_closed_forms(of_sites):
    torch.testing.assert_close(entropy(of_sites, uniform), torch.full((3,), math.log(9)))
    assert entropy(of_sites, one_hot).equal(torch.zeros(3))
    harmonic = math.log(math.factorial(9)) / 9  # mean of ln 1, ..., ln 9
    torch.testing.assert_close(entropy(of_sites, causal), torch.full((3,), harmonic))


def test_normalised_entropy_closed_forms(of_sites):
    torch.testing.assert_close(entropy(of_sites, uniform, True), torch.ones(3))
    torch.testing.assert_close(entropy(of_sites, causal, True), torch.ones(3))
    assert entropy(of_sites, one_hot, True).equal(torch.zeros(3))


def test_visible_keys():
    assert visible_keys(uniform).tolist() == [9] * 9
    assert visible_keys(causal).tolist() == list(range(1, 10))
    saturated = causal * (torch.arange(9) == 0)  # every query looks at the first key only
    assert visible_keys(saturated).tolist() == list(range(1, 10))


def test_linear_attention_counts_magnitudes_and_rows_of_zeros_as_0(of_sites):
    signed = torch.tensor([[0.0, 0.0], [3.0, -1.0]]).expand(1, 1, 2, 2)
    expected = (-0.75 * math.log(0.75) - 0.25 * math.log(0.25)) / 2
    torch.testing.assert_close(entropy(of_sites, signed), torch.tensor([expected]))
    torch.testing.assert_close(entropy(of_sites, -1e-6 * signed), torch.tensor([expected]))


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_entropy_by_plain_loops(one, attention):
    reading = one(attention=attention, dtype=torch.float64)
    results = AttentionEntropy().read(reading)
    assert results.keys() == {"entropy/blocks.0", "entropy/blocks.1"}
    pattern = reading.sites["blocks.1.attention.pattern"]
    for head in range(2):
        values = []
        for sample in pattern[:, head].tolist():
            for row in sample:
                shares = [abs(weight) / sum(map(abs, row)) for weight in row]
                values.append(-sum(p * math.log(p) for p in shares if p > 0))
        assert results["entropy/blocks.1"][head].item() == pytest.approx(sum(values) / len(values))


def test_progress_is_1_on_the_oracles_pattern_and_its_share_under_uniform_attention(of_sites, task):
    needed = task.attended().float()
    oracle = (needed * torch.rand(2, 3, *needed.shape) * 5).contiguous()
    oracle[..., : task.output_rows().start, :] = 1.0  # the prompt's rows do not count
    results = AttentionProgress().read(of_sites(blocks__0__attention__pattern=-oracle))
    torch.testing.assert_close(results["attention-progress/blocks.0"], torch.tensor(1.0))
    torch.testing.assert_close(results["attention-progress/blocks.0.heads"], torch.ones(3))
    # |Omega| = 1 for the copied answer and 2 for each of the 5 sums, of 6 rows with 12 keys each.
    alike = torch.full((2, 3, 12, 12), 1 / 12)
    share = AttentionProgress().read(of_sites(blocks__0__attention__pattern=alike))
    torch.testing.assert_close(share["attention-progress/blocks.0"], torch.tensor(11 / 72))


def test_progress_by_plain_loops(one, task):
    reading = one(attention="linear", heads=1, dtype=torch.float64)
    pattern = reading.sites["blocks.0.attention.pattern"][:, 0].tolist()
    needed = task.attended().tolist()
    ratios = []
    for sample in pattern:
        inside = whole = 0.0
        for query in range(6, 12):  # the separator and the first five answers
            for key in range(12):
                whole += abs(sample[query][key])
                inside += abs(sample[query][key]) * needed[query][key]
        ratios.append(inside / whole)
    result = AttentionProgress().read(reading)["attention-progress/blocks.0"].item()
    assert result == pytest.approx(sum(ratios) / len(ratios))


def test_progress_leaves_out_layers_without_an_oracle_set(of_sites):
    two_layers = {f"blocks__{i}__attention__pattern": torch.rand(2, 1, 3, 3) for i in range(2)}
    task = SecondLayer(kind="second-layer")
    results = AttentionProgress().read(of_sites(task=task, **two_layers))
    assert results.keys() == {"attention-progress/blocks.1", "attention-progress/blocks.1.heads"}
    AttentionProgress().check(task)


@pytest.mark.parametrize(("oracle", "fetches"), [("index-first", 1), ("letter-first", 0)])
def test_progress_where_keys_depend_on_the_sample(of_sites, oracle, fetches):
    """The layer that fetches letters, by plain loops, and 1 on the oracle's own pattern."""
    task = Permutation(length=3, alphabet=4, oracle=oracle)
    batch = task.sample(Draws(0, "data"), 4)
    pattern = torch.rand(4, 2, 10, 10).softmax(-1).tril()
    both = {f"blocks__{layer}__attention__pattern": pattern for layer in range(2)}
    reading = dataclasses.replace(of_sites(task=task, **both), batch=batch)
    results = AttentionProgress().read(reading)
    assert {name for name in results if name.endswith("heads")} == {
        "attention-progress/blocks.0.heads",
        "attention-progress/blocks.1.heads",
    }
    first = 7 if oracle == "index-first" else 4  # answers' rows, or the places of pi
    for head in range(2):
        shares = []
        for sample, tokens in enumerate(batch["inputs"].tolist()):
            rows = pattern[sample, head, first : first + 3]
            keys = [pi - 1 for pi in tokens[4:7]]
            inside = sum(rows[i, key].item() for i, key in enumerate(keys))
            shares.append(inside / rows.sum().item())
        found = results[f"attention-progress/blocks.{fetches}.heads"][head].item()
        assert found == pytest.approx(sum(shares) / 4)
    perfect = task.attended_in(batch, fetches).float().unsqueeze(1)
    perfect = torch.where(perfect.any(-1, keepdim=True), perfect, 0.1)  # other rows do not count
    ideal = of_sites(task=task, **{f"blocks__{fetches}__attention__pattern": perfect})
    value = AttentionProgress().read(dataclasses.replace(ideal, batch=batch))
    assert value[f"attention-progress/blocks.{fetches}"].item() == 1.0
    AttentionProgress().check(task)


def test_progress_of_every_member_is_on_its_own_samples():
    task = Permutation(length=3, alphabet=4)
    batch = task.sample(Draws([0, 1, 2], "data"), 4)
    pattern = torch.rand(3, 4, 2, 10, 10).tril()

    def read(weights, samples):
        sites = {"blocks.1.attention.pattern": weights}
        reading = Reading(task=task, parameters={}, sites=sites, batch=samples)
        return AttentionProgress().read(reading)["attention-progress/blocks.1.heads"]

    together = vmap(read)(pattern, batch)
    for member in range(3):
        alone = read(pattern[member], {name: value[member] for name, value in batch.items()})
        torch.testing.assert_close(together[member], alone)


def test_a_permutation_applied_several_times_has_no_progress():
    with pytest.raises(ValueError, match="permutation has no oracle attention set"):
        AttentionProgress().check(Permutation(compositions=2))


def test_progress_needs_an_oracle():
    with pytest.raises(ValueError, match="no-oracle has no oracle attention set"):
        AttentionProgress().check(NoOracle(kind="no-oracle"))


def test_a_map_is_the_mean_over_samples(one):
    reading = one()
    results = AttentionMap().read(reading)
    pattern = reading.sites["blocks.0.attention.pattern"]
    assert results["attention-map/blocks.0"].shape == (2, 12, 12)
    torch.testing.assert_close(results["attention-map/blocks.0"], sum(pattern) / 7)
    torch.testing.assert_close(results["attention-map/blocks.0"].sum(-1), torch.ones(2, 12))


def test_a_model_without_the_site_is_an_error(of_sites):
    with pytest.raises(SaltusError, match=r"no site 'blocks\.\*\.attention\.pattern'"):
        AttentionMap().read(of_sites(final=torch.ones(1, 2, 3)))


class NoOracle(Task):
    """A task that says nothing about attention."""


class SecondLayer(Task):
    """A task that knows what the second layer needs."""

    @property
    def interface(self):
        return Interface(2, 3, 2)

    def output_rows(self):
        return slice(1, 3)

    def attended(self, layer=0):
        return torch.eye(3, dtype=torch.bool) if layer == 1 else None
