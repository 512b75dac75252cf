"""The GPT form of matrix completion."""

import pytest
import torch
import torch.nn.functional as F

from saltus.errors import SaltusError
from saltus.instruments.copy_check import CopyCheck
from saltus.random import Draws
from saltus.tasks.matrix_sequence import MatrixSequence

PAPER = MatrixSequence()


def test_the_papers_vocabulary_and_length():
    assert (PAPER.vocabulary, PAPER.separator, PAPER.interface.positions) == (405, 404, 98)
    values = torch.tensor([-2.0, 0.0, 2.0, -1.07, -1.08, -1.19, -1.20])
    # The last four are those that truncation gets wrong by one (section 11, item 8 of our spec).
    assert PAPER.encode(values).tolist() == [1, 201, 401, 94, 93, 82, 81]


def test_the_answer_is_the_prompt_with_its_gaps_filled():
    tokens = PAPER.sequences(Draws([0, 1], "data"), 16)
    prompt, separator, answer = tokens[..., :49], tokens[..., 49], tokens[..., 50:]
    assert (separator == 404).all()
    assert (answer > 0).all()
    shown = prompt != 0
    assert torch.equal(prompt[shown], answer[shown])
    batch = PAPER.sample(Draws([0, 1], "data"), 16)
    parts = PAPER.answer_parts(batch)
    assert torch.equal(parts["observed"], shown)
    assert torch.equal(parts["masked"], ~shown)
    assert torch.equal(PAPER.answer(batch), answer)


def test_answer_k_needs_cell_k():
    needed = PAPER.attended()
    assert needed.nonzero().tolist() == [[49 + k, k] for k in range(49)]


def test_a_planted_token_stands_in_every_gap_and_who_copies_gives_it_back():
    task = MatrixSequence(rows=3, columns=4, rank=1)
    batch = task.sample(Draws([0, 1], "data"), 8)
    before = {name: value.clone() for name, value in batch.items()}
    planted = task.planted(batch, 245)
    assert all(batch[name].equal(value) for name, value in before.items())
    inputs, gaps = planted.batch["inputs"], before["inputs"] == 0
    assert (inputs[gaps] == 245).all() and inputs[~gaps].equal(before["inputs"][~gaps])
    assert planted.batch["targets"].equal(before["targets"])
    assert planted.where[..., task.output_rows()].equal(gaps[..., :12])
    assert planted.where.sum() == gaps.sum() > 0
    outputs = F.one_hot(inputs, task.vocabulary).float()
    outputs[..., task.output_rows(), :] = outputs[..., :12, :].clone()  # a model that copies
    assert not task.copy_error(outputs, planted)[planted.where].any()
    true = F.one_hot(planted.batch["targets"], task.vocabulary).float()  # one that completes
    assert task.copy_error(true, planted)[planted.where].mean() > 0.9
    for row, seed in enumerate((0, 1)):
        alone = task.planted(task.sample(Draws(seed, "data"), 8), 245)
        assert alone.where.equal(planted.where[row])
        assert alone.batch["inputs"].equal(inputs[row])


@pytest.mark.parametrize("value", [0, 0.44, -1, 402, 404, float("nan")])
def test_a_token_that_is_no_number_is_not_planted(value):
    with pytest.raises(SaltusError) as caught:
        PAPER.planted(PAPER.sample(Draws(0, "data"), 2), value)
    assert str(caught.value).endswith(
        "is no token that task matrix-sequence copies; allowed: whole numbers 1 to 401"
    )


def test_the_copy_check_takes_token_ids_for_it():
    CopyCheck(values=(245, 177)).check(PAPER)
    with pytest.raises(ValueError, match="required for task matrix-sequence, which writes tokens"):
        CopyCheck().check(PAPER)
