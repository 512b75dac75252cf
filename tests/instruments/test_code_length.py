"""Online code length: a slow reference, its bounds, and members that do not mix."""

from math import log2

import pytest
import torch

from marked_samples import HEADS, OUTPUT, Marked, reading
from saltus.errors import SaltusError
from saltus.instruments import Instrument
from saltus.instruments.code_length import CodeLength, bits, ends_of
from saltus.instruments.probe_training import batches
from saltus.tasks.moving_window_sum import MovingWindowSum
from tiny_checkpoints import same_bits

FIELDS = {"samples": 512, "blocks": 5, "steps": 60, "batch": 32}


def lengths(seeds=0, dtype=torch.float32, **fields):
    part = CodeLength(**{**FIELDS, **fields})
    return part.read(reading(part, seeds, dtype))


def at(results, target, what, site=OUTPUT):
    return results[f"code-length/{site}/{target}/all/{what}"]


def test_it_is_the_sum_of_what_each_block_costs_under_the_blocks_before_it():
    """Written out: one probe after another, one sample after another, in float64."""
    part = CodeLength(**{**FIELDS, "samples": 60, "blocks": 3, "steps": 9}, scaling="feature")
    made = reading(part, dtype=torch.float64)
    found = part.read(made)
    states = made.batch["inputs"].flatten(1)
    for target, size in (("largest", 3), ("coin", 2)):
        truth = made.task.labels(made.batch)[target]
        total = 15 * log2(size)
        for end, following in ((15, 30), (30, 60)):
            seen = states[:end]
            mean, deviation = seen.mean(0), seen.std(0, correction=0)
            x = torch.cat([(states - mean) / deviation, torch.ones(60, 1)], dim=1)
            weights = torch.zeros(x.shape[1], size, dtype=torch.float64)
            first, second = torch.zeros_like(weights), torch.zeros_like(weights)
            for count, chosen in enumerate(batches(part.recipe, end, states.device), start=1):
                wanted = torch.full((len(chosen), size), 0.1 / size, dtype=torch.float64)
                wanted[range(len(chosen)), truth[chosen]] += 0.9
                wrong = (x[chosen] @ weights).softmax(1) - wanted
                gradient = x[chosen].T @ wrong / len(chosen)
                first = 0.9 * first + 0.1 * gradient
                second = 0.999 * second + 0.001 * gradient**2
                scaled = first / (1 - 0.9**count)
                scaled = scaled / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
                weights = weights - 0.01 * (scaled + 0.01 * weights)
            for i in range(end, following):
                total -= log2((x[i] @ weights).softmax(0)[truth[i]].item())
        assert at(found, target, "bits").item() == pytest.approx(total, rel=1e-9)
        ratio = 60 * log2(size) / total
        assert at(found, target, "compression").item() == pytest.approx(ratio, rel=1e-9)


def test_what_is_readable_costs_little_and_a_coin_its_whole_price():
    found = lengths(samples=1024, blocks=6, steps=150, learning_rate=0.02)
    assert at(found, "coin", "bits") > 0.98 * 1024 and at(found, "coin", "compression") < 1.02
    assert at(found, "same", "compression") < 1.02  # there, but not for a line
    assert at(found, "sign", "bits") < 0.5 * 1024
    assert at(found, "largest", "compression") > 1.6
    first, second = at(found, "sign", "compression", HEADS)
    assert first > 2 and second < 1.02


def test_a_probe_that_learns_nothing_pays_log2_of_the_classes_for_each_sample():
    found = lengths(learning_rate=1e-30, targets=("sign", "largest"))
    for target, size in (("sign", 2), ("largest", 3)):
        assert at(found, target, "bits").item() == pytest.approx(512 * log2(size), rel=1e-6)
        assert at(found, target, "compression").item() == pytest.approx(1, rel=1e-6)


def test_what_is_sure_after_the_first_block_costs_the_first_block():
    """One large number and no smoothing: all that is left is n_1 log2 K."""
    part = CodeLength(**FIELDS, label_smoothing=0.0, scaling="none", targets=("sign",))
    made = reading(part)
    inputs = made.batch["inputs"]
    inputs.copy_(inputs.sign() * 1000)
    inputs[:, 1], inputs[:, 0, 1:] = 0, 0
    found = part.read(made)
    assert at(found, "sign", "bits").item() == pytest.approx(512 / 2**4, abs=0.5)
    assert at(found, "sign", "compression").item() == pytest.approx(2**4, rel=0.02)


def test_blocks_double():
    assert ends_of(512, 5) == [32, 64, 128, 256, 512]
    assert ends_of(100, 3) == [25, 50, 100]
    assert ends_of(7, 3) == [1, 3, 7]
    assert CodeLength().needs(Marked()).samples == 2048
    assert ends_of(2048, CodeLength().blocks)[0] == 64


def test_bits_are_minus_log2_of_the_probability():
    logits = torch.randn(2, 3, 40, 4, dtype=torch.float64)
    truth = torch.randint(4, (2, 40))
    found = bits(logits, truth)
    for k in range(2):
        for p in range(3):
            chance = logits[k, p].softmax(1)[range(40), truth[k]]
            assert found[k, p].item() == pytest.approx(-chance.log2().sum().item())


def test_samples_come_from_the_task_itself():
    """Also where it keeps other samples for evaluation."""
    task = Marked()
    assert CodeLength().needs(task).task is task


@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize(("samples", "batch"), [(128, 32), (61, 13)])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(samples, batch, hidden):
    fields = {"samples": samples, "batch": batch, "hidden": hidden, "blocks": 3, "steps": 9}
    together = lengths(list(range(5)), **fields)
    for some in ([0], [3], [4, 0], [1, 2, 3]):
        fewer = lengths(some, **fields)
        for row, k in enumerate(some):
            one = {name: value[k] for name, value in together.items()}
            assert same_bits({name: value[row] for name, value in fewer.items()}, one)
    assert same_bits(lengths(2, **fields), {name: value[2] for name, value in together.items()})


def test_a_member_that_diverged_has_no_length():
    part = CodeLength(**FIELDS)
    before, made = part.read(reading(part, [0, 1])), reading(part, [0, 1])
    made.batch["inputs"][1, 7] = torch.nan
    for name, value in part.read(made).items():
        assert value[1].isnan().all()
        assert value[0].equal(before[name][0])


def test_what_cannot_be_coded_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^task moving-window-sum tells no classes"):
        CodeLength().check(MovingWindowSum())
    with pytest.raises(
        ValueError, match=r"^samples: 100 is not allowed: at least 128 for 8 blocks"
    ):
        Instrument.parse({"kind": "code-length", "samples": 100, "blocks": 8})
    with pytest.raises(
        SaltusError, match=r"^code-length.blocks: 6 of a batch of 12 samples is not"
    ):
        ends_of(12, 6)
    for field, value in (("blocks", 1), ("samples", 1), ("tokens", "last")):
        with pytest.raises(ValueError, match=rf"^{field}"):
            Instrument.parse({"kind": "code-length", field: value})


def test_it_is_data():
    part = CodeLength(samples=64, blocks=3, layers=(1,))
    assert Instrument.parse(part.model_dump()) == part
