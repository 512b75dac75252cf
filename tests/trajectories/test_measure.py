"""The sums of a pass against an independent float64 reference, and the identities between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from saltus.trajectories import analyse, find_series, measure
from saltus.trajectories.signature import LENGTH


def flat(state):
    """All numbers of a state in one float64 vector."""
    return torch.cat([value.double().flatten() for value in state.values()])


def reference(states):
    """‖θ‖, cos, alignment, step and the distances, by the formulas of section 5 of the spec."""
    vectors = [flat(state) for state in states]
    steps = [b - a for a, b in itertools.pairwise(vectors)]
    cosine = torch.nn.functional.cosine_similarity
    return {
        "norm": [float(v.norm()) for v in vectors],
        "direction": [float(cosine(a, b, 0)) for a, b in itertools.pairwise(vectors)],
        "alignment": [
            float((b @ a - a @ a) / ((b - a).norm() * a.norm()))
            for a, b in itertools.pairwise(vectors)
        ],
        "step": [float(step.norm()) for step in steps],
        "turn": [float(cosine(a, b, 0)) for a, b in itertools.pairwise(steps)],
    }


@pytest.mark.parametrize("piece", [7, 64, 1 << 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_norms_and_directions_are_the_formulas(walk, write, monkeypatch, piece, dtype):
    states = walk(5, drift=0.01, dtype=dtype)
    monkeypatch.setattr(measure, "PIECE", piece)
    course = analyse(find_series(write(states))).total
    for name, wanted in reference(states).items():
        np.testing.assert_allclose(getattr(course, name), wanted, rtol=1e-12, atol=1e-14)


def test_growth_accounting_is_an_identity(walk, write):
    """M10: both sides are measured apart, and agree to 1e-9 of the growth."""
    trajectory = analyse(find_series(write(walk(8, drift=0.02))))
    for course in (trajectory.total, trajectory.encoder, *trajectory.blocks.values()):
        found = course.accounting
        assert found.growth == pytest.approx(found.squared_steps + found.cross, rel=1e-9)
        assert found.squared_steps_share + found.cross_share == pytest.approx(1, rel=1e-9)


def test_orthogonal_steps_of_equal_length(walk, write):
    """Section 7.6 of the spec: ‖θ_T‖ = sqrt(‖θ_0‖² + T s²), all growth from squared steps."""
    states = [{"h.0.mlp.c_fc.weight": torch.zeros(4, 4)}]
    states[0]["h.0.mlp.c_fc.weight"][0, 0] = 3.0
    for i in range(1, 6):
        states.append({"h.0.mlp.c_fc.weight": states[-1]["h.0.mlp.c_fc.weight"].clone()})
        states[-1]["h.0.mlp.c_fc.weight"].view(-1)[i] = 2.0
    course = analyse(find_series(write(states))).encoder
    np.testing.assert_allclose(course.norm, np.sqrt(9 + 4 * np.arange(6)), rtol=1e-14)
    assert course.accounting.squared_steps_share == 1 and course.accounting.cross_share == 0
    assert not course.alignment.any() and not course.turn.any()


def test_policies_select_what_the_paper_says(walk, write):
    """M1 without embeddings and readout, M2 all, M3 input columns, M4 blocks, M5 least RMS."""
    states = walk(3)
    trajectory = analyse(find_series(write(states)))
    last = {name: value.double() for name, value in states[-1].items()}
    inside = [name for name in last if ".h." in name]
    assert trajectory.encoder.norm[-1] == pytest.approx(
        float(flat({n: last[n] for n in inside}).norm())
    )
    first = float(flat({n: last[n] for n in inside if ".h.0." in n}).norm())
    assert trajectory.blocks["0"].norm[-1] == pytest.approx(first) and len(trajectory.blocks) == 2
    # GPT-2 keeps [in, out]: an input's column is a row there, and a column of the readout.
    columns = [
        *last["transformer.h.0.attn.c_attn.weight"].norm(dim=1),
        *last["transformer.h.1.mlp.c_fc.weight"].norm(dim=1),
        *last["lm_head.weight"].norm(dim=0),
    ]
    assert trajectory.mean_column_norm[-1] == pytest.approx(np.mean([float(c) for c in columns]))
    least = min(float(v.norm()) / v.numel() ** 0.5 for v in last.values() if v.ndim == 2)
    assert trajectory.least_rms[-1] == pytest.approx(least)
    assert trajectory.course("embeddings", "readout").norm[-1] == pytest.approx(
        float(flat({n: last[n] for n in ("transformer.wte.weight", "lm_head.weight")}).norm())
    )


def test_distances_are_known_between_all_pairs(walk, write):
    """Exact for neighbours and second neighbours; others to 5 standard errors of 2.2 %; and equal
    weights are at distance 0 exactly, wherever they stand."""
    states = walk(8, drift=0.02)
    states[7] = states[2]
    found = analyse(find_series(write(states))).distances
    vectors = torch.stack([flat(state) for state in states])
    wanted = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    away = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    np.testing.assert_allclose(found[away <= 2], wanted[away <= 2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found, wanted, rtol=5 / (2 * LENGTH) ** 0.5)
    assert found[2, 7] == 0


def test_what_is_not_finite_is_counted_and_becomes_nan(walk, write):
    states = walk(5)
    states[2]["lm_head.weight"][3, :2] = torch.tensor([float("nan"), float("inf")])
    trajectory = analyse(find_series(write(states)))
    assert trajectory.not_finite.sum() == 2 and trajectory.not_finite[:, 2].sum() == 2
    assert np.isnan(trajectory.total.direction[1:3]).all()
    assert np.isfinite(trajectory.encoder.direction).all()


def test_one_checkpoint_is_a_trajectory_too(walk, write):
    trajectory = analyse(find_series(write(walk(1))))
    assert trajectory.total.norm.shape == (1,) and trajectory.total.step.shape == (0,)
    assert trajectory.distances.tolist() == [[0.0]]
