"""The GPT form of matrix completion."""

import torch

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
