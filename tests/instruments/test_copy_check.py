"""Copy check: models whose answers are known, and closed forms."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import saltus
from analysed import One
from saltus.instruments.copy_check import CopyCheck
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence

TASK = MatrixCompletion(rows=5, columns=5, rank=1)
ADDING = MovingWindowSum(length=4)
ENTRIES = MatrixCompletion(rows=5, columns=5, factors="entries")


class Copier(nn.Module):
    """Gives back the number that each token stands for, and 0 for the mask."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.numbers = task.token_values().nan_to_num(0.0)

    def forward(self, tokens):
        return self.numbers[tokens].unsqueeze(-1)


class Constant(nn.Module):
    """Says the same whatever it is shown."""

    def forward(self, tokens):
        return torch.full((*tokens.shape, 1), 0.5)


def read(module, task=TASK, batch=512, **fields):
    found = saltus.read(module, [CopyCheck(**fields)], task, task.sample(Draws(0, "mine"), batch))
    return {name.removeprefix("copy-check/"): value for name, value in found.items()}


@pytest.mark.parametrize("task", [TASK, ENTRIES], ids=lambda task: task.factors)
def test_a_copier_has_the_closed_forms_of_the_spec(task):
    """Masked error against X is Var(X) + v^2; r/9 for low rank, 1/3 for independent entries."""
    found = read(Copier(task), task, batch=2000)
    assert task.variance == pytest.approx(1 / 9 if task is TASK else 1 / 3)
    for name, value in (("mask", 0.0), ("0.44", 0.44), ("-0.24", -0.24)):
        assert found[f"replace-loss/{name}"] < 1e-12
        assert found[f"observed-loss/{name}"] < 1e-12
        level = task.variance + value**2
        assert found[f"planted-loss/{name}"].item() == pytest.approx(level, rel=0.05)
        assert found[f"loss/{name}"].item() == pytest.approx(0.3 * level, rel=0.05)


def test_the_loss_is_its_two_parts():
    task = TASK.model_copy(update={"missing": 8, "mask_probability": 0.0})
    task = MatrixCompletion.model_validate(task.model_dump())
    found = read(Constant(), task)
    for name in ("mask", "0.44", "-0.24"):
        both = 8 * found[f"planted-loss/{name}"] + 17 * found[f"observed-loss/{name}"]
        torch.testing.assert_close(found[f"loss/{name}"], both / 25)


def test_who_does_not_copy_does_not_give_the_value_back():
    found = read(Constant(), values=(0.44, 0.5, -2))
    assert found["replace-loss/0.44"].item() == pytest.approx(0.06**2, rel=1e-4)
    assert found["replace-loss/0.5"].item() == pytest.approx(0, abs=1e-12)
    assert found["replace-loss/-2"].item() == pytest.approx(2.5**2)
    assert found["replace-loss/mask"].item() == pytest.approx(0.5**2)
    assert found["loss/0.5"].equal(found["loss/mask"])  # it does not even look


def test_an_encoder_is_shown_the_planted_tokens():
    one = One("completing")
    found = saltus.read(one.module, [CopyCheck(values=(0.3,))], one.task, one.batch)
    seen = one.batch["observed"]
    inputs = torch.where(seen, one.batch["inputs"], int(one.task.encode(torch.tensor(0.3))))
    outputs = one.module(inputs)[..., 0].detach()
    errors = (outputs - one.batch["targets"]) ** 2
    for name, value in (
        ("replace-loss", ((outputs - 0.3) ** 2)[~seen].mean()),
        ("planted-loss", errors[~seen].mean()),
        ("observed-loss", errors[seen].mean()),
        ("loss", errors.mean()),
    ):
        torch.testing.assert_close(found[f"copy-check/{name}/0.3"], value, rtol=1e-6, atol=1e-6)


def test_values_are_named_as_what_was_written():
    coarse = MatrixCompletion(rows=5, columns=5, rank=1, decimals=1)
    found = read(Copier(coarse), coarse, values=(0.44,))
    assert {name.rpartition("/")[2] for name in found} == {"mask", "0.4"}
    assert found["replace-loss/0.4"] < 1e-12


class Echo(nn.Module):
    """Answers x_i with x_i, surely, whatever the rule says."""

    def forward(self, tokens):
        said = tokens.roll(ADDING.length, -1)
        return 50.0 * nn.functional.one_hot(said, ADDING.vocabulary).float()


def test_tokens_are_planted_by_their_ids():
    found = read(Echo(), ADDING, values=(3, 7))
    assert {name.rpartition("/")[2] for name in found} == {"3", "7"}
    for value in (3, 7):
        assert found[f"replace-loss/{value}"] == 0
        assert found[f"planted-loss/{value}"] > 1  # sums are not copies
        assert f"observed-loss/{value}" not in found


def test_what_does_not_fit_is_one_line():
    for task, fields, line in (
        (WordCooccurrence(), {}, "task word-cooccurrence does not say where a value could be"),
        (ADDING, {}, "values: required for task moving-window-sum, which writes tokens, by id"),
        (ADDING, {"values": [44]}, "44 is no token that task moving-window-sum copies; allowed: "),
        (TASK, {"values": [0.441, 0.44]}, "values: two of them are written as 0.44"),
        (TASK, {"task": MatrixCompletion(decimals=1)}, "task matrix-completion has 202 tokens "),
    ):
        with pytest.raises(ValueError, match=line):
            CopyCheck(**fields).check(task)
    with pytest.raises(ValidationError):
        CopyCheck(values=())
    CopyCheck(task=ENTRIES, label="random").check(TASK)
    assert CopyCheck(task=ENTRIES).needs(TASK).task == ENTRIES
