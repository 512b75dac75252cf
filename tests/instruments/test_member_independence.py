"""What holds for every instrument: member k's numbers do not depend on who is read beside it."""

import pytest
import torch

from saltus.instruments import Instrument
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.attention_progress import AttentionProgress
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.gradient_balance import GradientBalance
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.hidden_cosine import HiddenCosine
from saltus.instruments.norms import Norms
from saltus.instruments.repetition import Repetition

INSTRUMENTS = [
    AttentionEntropy(),
    AttentionEntropy(normalised=True),
    AttentionMap(),
    AttentionProgress(),
    Evaluation(),
    GradientBalance(samples=4),
    GradientNorms(),
    GradientNorms(per="parameter"),
    HiddenCosine(sites=("final", "blocks.*.residual.*", "blocks.*.attention.heads")),
    Norms(),
    Norms(per="parameter"),
    Repetition(),
]
every = pytest.mark.parametrize("instrument", INSTRUMENTS, ids=repr)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@every
def test_a_member_is_the_same_to_the_last_bit_in_any_company(
    instrument, attention, stacked, mapped
):
    stack = stacked(attention=attention)
    alone = [mapped(instrument, stack, slice(k, k + 1)) for k in range(5)]
    for first, last in [(0, 3), (1, 4), (0, 5), (3, 5)]:
        together = mapped(instrument, stack, slice(first, last))
        for k in range(first, last):
            assert together.keys() == alone[k].keys()
            for name, values in together.items():
                assert values[k - first].equal(alone[k][name][0]), (name, k)


@every
def test_read_serves_one_model_without_a_map(instrument, stacked, mapped, one):
    together = mapped(instrument, stacked())
    for member in range(5):
        for name, value in instrument.read(one(member)).items():
            torch.testing.assert_close(value, together[name][member], rtol=1e-5, atol=1e-6)


@every
def test_results_are_finite_and_named_family_slash_what(instrument, one):
    results = instrument.read(one())
    assert results
    for name, value in results.items():
        family, _, what = name.partition("/")
        assert family and what and name == name.lower() and " " not in name
        assert value.is_floating_point() and value.isfinite().all()


@every
def test_an_instrument_is_data(instrument, task):
    instrument.check(task)
    assert Instrument.parse(instrument.model_dump()) == instrument
    assert Instrument.parse(instrument.kind).kind == instrument.kind
    assert type(instrument).__module__.endswith("." + instrument.kind.replace("-", "_"))


@every
def test_only_what_was_asked_for_is_looked_at(instrument, task, stacked, mapped):
    """Emptied of everything that `needs` does not name, a reading gives the same bits."""
    stack = stacked()
    needs = instrument.needs(task)
    least = {"parameters": stack["parameters"], "batch": stack["batch"]}
    if needs.sites or needs.outputs:
        least |= {name: stack[name] for name in ("outputs", "losses", "sites")}
    if needs.generated:
        least["generated"] = stack["generated"]
    if needs.gradients:
        least["gradients"] = stack["gradients"]
    if needs.sample_gradients:
        least["sample_gradients"] = {
            name: value[:, : needs.sample_gradients]
            for name, value in stack["sample_gradients"].items()
        }
    full, lean = mapped(instrument, stack), mapped(instrument, least)
    assert all(lean[name].equal(value) for name, value in full.items())
