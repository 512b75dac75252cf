"""What holds for every instrument: member k's numbers do not depend on who is read beside it."""

import pytest
import torch

from saltus.instruments import Instrument
from saltus.instruments.answer_statistics import AnswerStatistics
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.attention_logits import AttentionLogits
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.attention_progress import AttentionProgress
from saltus.instruments.attention_received import AttentionReceived
from saltus.instruments.attention_shift import AttentionShift
from saltus.instruments.class_balance import ClassBalance
from saltus.instruments.conservation import Conservation
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.gradient_balance import GradientBalance
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.hidden_cosine import HiddenCosine
from saltus.instruments.inner_products import InnerProducts, ScoreShift, TwoPhases
from saltus.instruments.norms import Norms
from saltus.instruments.qkv_gradients import QkvGradients
from saltus.instruments.repetition import Repetition
from saltus.instruments.sample_losses import SampleLosses
from saltus.instruments.softmax_jacobian import SoftmaxJacobian
from saltus.instruments.state_norms import StateNorms
from saltus.instruments.token_attention import TokenAttention
from saltus.training.isolation import Watch

ADDING = [
    AnswerStatistics(),
    AttentionEntropy(),
    AttentionEntropy(normalised=True),
    AttentionLogits(),
    AttentionMap(),
    AttentionProgress(),
    AttentionReceived(),
    AttentionShift(),
    Conservation(),
    Evaluation(),
    Evaluation(label="again", generate=False),
    Evaluation(training=True),
    GradientBalance(samples=4),
    GradientNorms(),
    GradientNorms(per="parameter"),
    HiddenCosine(sites=("final", "blocks.*.residual.*", "blocks.*.attention.heads")),
    HiddenCosine(columns=True, across=True),
    Norms(),
    Norms(per="parameter"),
    QkvGradients(),
    Repetition(),
    SampleLosses(),
    SoftmaxJacobian(),
    StateNorms(stable_rank=True),
    TokenAttention(tokens=(0, 3, 7)),
]
FINDING_WORDS = [
    AttentionLogits(),
    AttentionReceived(),
    AttentionShift(),
    ClassBalance(),
    Conservation(),
    Evaluation(),
    InnerProducts(),
    Norms(),
    QkvGradients(),
    SampleLosses(),
    ScoreShift(),
    SoftmaxJacobian(),
    TokenAttention(tokens=(0, 1, 2)),
    TwoPhases(),
]
every_adding = pytest.mark.parametrize("instrument", ADDING, ids=repr)
every_word = pytest.mark.parametrize("instrument", FINDING_WORDS, ids=repr)
every = pytest.mark.parametrize(
    ("instrument", "kind"),
    [(each, "stacked") for each in ADDING] + [(each, "words") for each in FINDING_WORDS],
    ids=repr,
)


@pytest.fixture
def stack(request, kind):
    """The stack that an instrument is read on."""
    return request.getfixturevalue(kind)()


def differing(instrument, stack, mapped):
    """What a member's results are not to the last bit in some company."""
    alone = [mapped(instrument, stack, slice(k, k + 1)) for k in range(5)]
    found = set()
    for first, last in [(0, 3), (1, 4), (0, 5), (3, 5)]:
        together = mapped(instrument, stack, slice(first, last))
        for k in range(first, last):
            assert together.keys() == alone[k].keys()
            found |= {
                (name, k)
                for name, values in together.items()
                if not values[k - first].equal(alone[k][name][0])
            }
    return found


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@every_adding
def test_a_member_is_the_same_to_the_last_bit_in_any_company(
    instrument, attention, stacked, mapped
):
    assert not differing(instrument, stacked(attention=attention), mapped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_word
def test_a_member_is_the_same_in_any_company_or_the_engine_reads_it_alone(
    instrument, dtype, words, mapped
):
    stack, watch = words(dtype=dtype), Watch()
    if found := differing(instrument, stack, mapped):
        with watch:
            mapped(instrument, stack, slice(0, 1))
        assert watch.ragged, found


@every
def test_one_model_is_read_without_a_map(instrument, stack, mapped, look):
    together = mapped(instrument, stack)
    for member in range(5):
        for name, value in look(instrument, stack.one(member)).items():
            torch.testing.assert_close(value, together[name][member], rtol=1e-5, atol=1e-6)


@every
def test_results_are_finite_numbers(instrument, stack, look):
    results = look(instrument, stack.one())
    assert results
    for value in results.values():
        assert value.is_floating_point() and value.isfinite().all()


@every_adding
def test_results_are_named_family_slash_what(instrument, stacked, look):
    for name in look(instrument, stacked().one()):
        family, _, what = name.partition("/")
        assert family and (what or family == instrument.kind)
        assert name == name.lower() and " " not in name


@every
def test_an_instrument_is_data(instrument, stack):
    instrument.check(stack.task)
    assert Instrument.parse(instrument.model_dump()) == instrument
    home = type(instrument).__module__
    assert home.endswith("." + instrument.kind.replace("-", "_")) or home.endswith("inner_products")


@every
def test_only_what_was_asked_for_is_looked_at(instrument, stack, mapped):
    """Emptied of everything that `needs` does not name, a reading gives the same bits."""
    needs = instrument.needs(stack.task)
    names = {"parameters", "batch"}
    if needs.sites or needs.outputs:
        names |= {"outputs", "losses", "sites"}
    if needs.initial:
        names |= {"initial"} | ({"initial_sites"} if needs.sites else set())
    if needs.generated:
        names |= {"generated"}
    if needs.gradients:
        names |= {"gradients"}
    if needs.sample_gradients:
        names |= {"sample_gradients"}
    least = stack.only(*names)
    if needs.sample_gradients:
        least["sample_gradients"] = {
            name: value[:, : needs.sample_gradients]
            for name, value in stack["sample_gradients"].items()
        }
    full, lean = mapped(instrument, stack), mapped(instrument, least)
    assert all(lean[name].equal(value) for name, value in full.items())
