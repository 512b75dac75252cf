"""Claims on norm growth that need no run: what they compute, and what would contradict them."""

import numpy as np
import pytest
import torch

from saltus.studies.claim import Verdict
from saltus.studies.norm_growth import exact, fig4, fixture, regression
from saltus.transitions.statistics.growth import fit, motion_of_pairs

ITEMS = [
    exact.degrees,
    exact.encoder_degree,
    exact.softmax_bound,
    exact.softmax_limit,
    exact.squashing,
    exact.walks,
    exact.counting_heads,
    exact.argmax_head,
    exact.accounting,
    exact.size,
]


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    for name, value in (("SEEDS", 4), ("DRAWN", 500)):
        monkeypatch.setattr(exact, name, value)
    monkeypatch.setattr(fig4, "SEEDS", {"quick": 4, "paper": 2})
    fig4.curve.cache_clear()
    yield
    fig4.curve.cache_clear()


def verdicts(quantities):
    return {quantity.name: quantity.verdict for quantity in quantities}


def test_the_recorded_series_are_whole():
    assert len(fixture.STEPS) == len(fixture.NORMS) == len(fixture.COSINES) + 1 == 104
    assert (fixture.STEPS[1], fixture.STEPS[-2], fixture.STEPS[-1]) == (5100, 520_200, 524_288)
    assert (fixture.NORMS.sum(), np.round(fixture.COSINES.sum(), 4)) == (291334.0, 101.7686)
    assert (np.diff(fixture.NORMS) > 0).all() and (np.diff(fixture.COSINES) >= 0).all()


def test_regressions_of_the_recorded_norms():
    """Section 6.1: slope 5.412 and intercept 193.6 on √t, and the others' r²."""
    root = fit(fixture.STEPS, fixture.NORMS, "root")
    assert root.slope == pytest.approx(5.412, abs=5e-4)
    assert root.intercept == pytest.approx(193.6, abs=0.05)
    for law, expected in (("root", 0.9986), ("linear", 0.966), ("fourth-root", 0.936),
                          ("exponential", 0.059)):  # fmt: skip
        found = fit(fixture.STEPS, fixture.NORMS, law).r_squared
        assert found == pytest.approx(expected, abs=5e-4)


def test_alignment_and_step_size_of_the_recorded_pairs():
    """Section 6.1, Figure 5: what is printed there to three digits."""
    found = motion_of_pairs(fixture.NORMS, fixture.COSINES)
    at = dict(zip(fixture.STEPS[1:].tolist(), found.alignment, strict=True))
    assert at[5100] == pytest.approx(-0.05, abs=0.005)
    assert at[51_000] == pytest.approx(0.099, abs=0.001)
    assert found.lengths[:2] == pytest.approx([342, 391], abs=1)
    assert found.grows.all()


@pytest.mark.parametrize("claim", regression.claims(), ids=lambda claim: str(claim.number))
def test_what_is_recorded_is_reproduced(claim):
    assert claim.judge({}).verdict is Verdict.REPRODUCED and claim.arms == ()


def test_the_recorded_parts_of_claims_2_and_3_are_reproduced():
    found = verdicts([*regression.direction(), *regression.alignment()])
    assert set(found.values()) == {Verdict.REPRODUCED}


def test_other_curves_contradict(monkeypatch):
    steps = np.asarray(fixture.STEPS, dtype=np.float64)
    monkeypatch.setattr(fixture, "NORMS", 471 + 7e-3 * steps)
    monkeypatch.setattr(fixture, "COSINES", np.append(fixture.COSINES[:-1], 0.9970))
    monkeypatch.setattr(fixture, "LAYER_ENDS", fixture.LAYER_ENDS[::-1].copy())
    for claim in regression.claims():
        assert claim.judge({}).verdict is Verdict.CONTRADICTED
    assert Verdict.CONTRADICTED in verdicts(regression.alignment()).values()


def test_exponents_of_runs_are_judged_over_seeds():
    steps = np.arange(1.0, 61) * 25
    wobble = np.random.default_rng(0).standard_normal((4, 60))
    linear, root = 30 + steps / 100 + 0.01 * wobble, 30 + np.sqrt(steps) / 4 + 0.02 * wobble
    yes, no = {Verdict.REPRODUCED}, {Verdict.CONTRADICTED}
    assert set(verdicts(regression.constant_rate("lr 1e-3", steps, linear)).values()) == yes
    assert set(verdicts(regression.constant_rate("lr 1e-3", steps, root)).values()) == no
    assert set(verdicts(regression.decaying_rate("1/√t", steps, root)).values()) == yes
    assert set(verdicts(regression.decaying_rate("1/√t", steps, linear)).values()) == no


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.__name__)
def test_closed_forms_hold(item):
    for quantity in item():
        assert quantity.verdict is Verdict.REPRODUCED, quantity


def test_the_claim_has_all_closed_forms_and_names_each_once():
    (claim,) = exact.claims()
    quantities = claim.judge({}).quantities
    names = [quantity.name for quantity in quantities]
    assert len(set(names)) == len(names) == sum(len(item()) for item in ITEMS)


def test_layer_norm_at_the_input_has_no_degree(monkeypatch):
    """Section 9, item 3: branch outputs of degree 3 on a residual stream of degree 1."""
    usual = exact.LanguageModel
    monkeypatch.setattr(exact, "LanguageModel", lambda **fields: usual(**fields | {"norm": "pre"}))
    found = [quantity.verdict for quantity in exact.encoder_degree()]
    assert found[-1] is Verdict.CONTRADICTED


def test_hard_attention_is_no_limit_of_softmax(monkeypatch):
    def hard(scores):
        return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)

    monkeypatch.setattr(exact, "zeta", hard)
    assert set(verdicts(exact.softmax_limit()).values()) == {Verdict.CONTRADICTED}


def test_bounds_fail_where_parameters_shrink(monkeypatch):
    """They are for c of at least 1."""
    uniform = exact.Draws.uniform
    monkeypatch.setattr(exact.Draws, "uniform", lambda self, *shape, **ends: uniform(
        self, *shape, **ends) if ends else -0.999 * uniform(self, *shape) / 99)  # fmt: skip
    assert set(verdicts(exact.squashing()).values()) == {Verdict.CONTRADICTED}
    assert exact.softmax_bound()[0].verdict is Verdict.CONTRADICTED


def test_brackets_are_balanced():
    for word in exact.balanced(exact.Draws(0, "test")):
        depth = (1 - 2 * word).cumsum(0)
        assert len(word) == 24 and depth[-1] == 0 and depth.min() >= 0


def test_random_models_at_quick_scale():
    eight, nine, fourteen = (claim.judge({}) for claim in fig4.claims("quick"))
    assert [each.claim.number for each in (eight, nine, fourteen)] == [8, 9, 14]
    assert nine.verdict is fourteen.verdict is Verdict.REPRODUCED
    pre, post = (eight.quantities[k].estimate for k in (0, 1))
    assert pre == pytest.approx(0.736, abs=0.08) and post == pytest.approx(0.073, abs=0.08)
    assert Verdict.CONTRADICTED not in verdicts(eight.quantities).values()


def test_the_curve_ends_at_its_limit_and_has_any_points():
    found = fig4.curve("quick", "pre_norm", "corrected", scales=(1.0, 4.0, 1000.0))
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found[:, 2], 1, rtol=1e-5)
    assert (np.diff(found.mean(0)) > 0).all()


def test_the_corrected_mask_in_the_place_of_the_authors_contradicts_claim_14(monkeypatch):
    monkeypatch.setattr(fig4, "variant", lambda name, preset, **changes: fig4.LanguageModel(
        **changes))  # fmt: skip
    assert fig4.leak({})[0].verdict is Verdict.CONTRADICTED


def test_claims_of_the_paper_scale_speak_of_the_whole_model():
    eight, nine, fourteen = fig4.claims("paper")
    assert (
        eight.tolerance.startswith("12 layers of width 768") and "0.93 to 0.99" in eight.tolerance
    )
    assert nine.tolerance.startswith("12 layers of width 768")
    assert {claim.arms for claim in (eight, nine, fourteen)} == {()}
