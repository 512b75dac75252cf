"""Small word co-occurrence problems and their trajectories, shared by the tests of the flow."""

from __future__ import annotations

import torch
from scipy.integrate import solve_ivp

from saltus.flow.cooccurrence import Closed, Full, Reduced
from saltus.models import initial_parameters
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.random import Draws
from saltus.tasks.word_cooccurrence import WordCooccurrence

SYSTEMS = (Full, Reduced, Closed)


def drawn(tokens="iid", rows=3, length=5, examples=12, vocabulary=9, kappa=6.0):
    """Training sets and parameters of several rows; iid tokens of a small vocabulary repeat."""
    if tokens == "unique":
        vocabulary = WordCooccurrence.exact_vocabulary(examples, length)
    task = WordCooccurrence(length=length, vocabulary=vocabulary, tokens=tokens)
    model = OneLayerAttention(width=6, neurons=4, kappa=kappa)
    batch = task.sample(Draws(range(rows), "data", dtype=torch.float64), examples)
    module = model.build(task.interface).double()
    own = [initial_parameters(model, module, k, dtype=torch.float64) for k in range(rows)]
    return task, module, batch, {n: torch.stack([p[n] for p in own]) for n in own[0]}


def trajectory(system, parameters, times, rtol=1e-12, atol=1e-12):
    """States [time, state] of the first row by scipy's DOP853."""
    start = system.start(parameters)[0].numpy()

    def velocity(_, y):
        return system.velocity(torch.from_numpy(y)[None])[0].numpy()

    solution = solve_ivp(
        velocity, (0, max(times)), start, method="DOP853", t_eval=times, rtol=rtol, atol=atol
    )
    assert solution.success
    return torch.from_numpy(solution.y.T.copy())
