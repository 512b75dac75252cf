"""Several processes give what one gives, and none is left behind."""

import multiprocessing

import pytest
import torch

from saltus.baselines import complete, cvxpy_solver
from saltus.errors import SaltusError

OBSERVED = torch.tensor([[[True, True], [True, False]]]).expand(5, 2, 2)
MATRICES = torch.linspace(-1, 1, 20, dtype=torch.float64).view(5, 2, 2)


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_processes_share_the_work_and_answer_in_order():
    heard = []
    found = complete(MATRICES, OBSERVED, None, "cvxpy", 2, heard.append)
    alone = complete(MATRICES, OBSERVED, None, "cvxpy", 1)
    assert torch.equal(found.solutions, alone.solutions)
    assert torch.equal(found.iterations, alone.iterations)
    assert heard == [1] * 5
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_told_of(monkeypatch):
    monkeypatch.setattr(cvxpy_solver, "_work", slice)  # takes as many arguments, and ends
    with pytest.raises(SaltusError, match="cvxpy: a process died before it was done"):
        complete(MATRICES, OBSERVED, None, "cvxpy", 2)
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_the_processes(monkeypatch):
    monkeypatch.setattr(cvxpy_solver, "_work", slice)
    with pytest.raises(KeyboardInterrupt), cvxpy_solver._processes([[], []]):
        assert len(multiprocessing.active_children()) == 2
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_what_gives_the_answers(monkeypatch):
    ended = []

    def answers(_):
        try:
            yield 0, cvxpy_solver.Answer(*2 * [MATRICES[0].numpy()], 1)
        finally:
            ended.append(True)

    monkeypatch.setattr(cvxpy_solver, "_here", answers)
    with pytest.raises(KeyboardInterrupt):
        complete(MATRICES[:1], OBSERVED[:1], None, "cvxpy", 1, interrupt)
    assert ended == [True]
