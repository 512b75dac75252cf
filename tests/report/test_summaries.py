"""A line each: from what a run recorded, or what revisiting it gives, to a figure."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report.summaries import (
    bars,
    bars_of,
    curve_against,
    heat_map_of,
    heat_maps,
    scatter_of,
    value_at,
)

GENERATOR = np.random.default_rng(0)
FOUND = {  # as `revisit` gives it
    "head-ablation/loss/blocks.0": GENERATOR.normal(size=(4, 8)),
    "head-ablation/loss/blocks.10": GENERATOR.normal(size=(4, 6)),
    "head-ablation/loss/blocks.2": GENERATOR.normal(size=(4, 8)),
    "head-ablation/intact/loss": GENERATOR.normal(size=4),
    "table": GENERATOR.normal(size=(4, 2, 3)),
    "token/coordinates": GENERATOR.normal(size=(4, 5, 2)),
}


def test_layers_by_heads():
    made = heat_map_of(FOUND, "head-ablation/loss", "uniform")
    assert made.rows == ("layer 0", "layer 2", "layer 10") and made.x_label == "head"
    np.testing.assert_allclose(made.values[1], FOUND["head-ablation/loss/blocks.2"].mean(0))
    assert np.isnan(made.values[2, 6:]).all() and np.isfinite(made.values[2, :6]).all()
    some = heat_map_of(FOUND, "head-ablation/loss", members=[1, 3])
    assert some.seeds == 2
    expected = FOUND["head-ablation/loss/blocks.0"][[1, 3]].mean(0)
    np.testing.assert_allclose(some.values[0], expected)


def test_a_metric_may_be_a_table_itself():
    made = heat_map_of(FOUND, "table", rows=["a", "b"], columns="xyz")
    assert (made.title, made.rows, made.columns) == ("table", ("a", "b"), ("x", "y", "z"))
    np.testing.assert_allclose(made.values, FOUND["table"].mean(0))
    assert heat_maps("t", [made]).maps == (made,)


def test_a_run_is_read_at_a_step(make_run):
    run = make_run()
    series = run.series("evaluation/accuracy")
    np.testing.assert_array_equal(value_at(run, "evaluation/accuracy"), series.values[:, -1])
    at = value_at(run, "evaluation/accuracy", 10, [2])
    np.testing.assert_array_equal(at, series.values[2:3, series.steps.tolist().index(10)])
    found = {arm: value_at(run, "loss/train", step) for arm, step in (("early", 0), ("late", 60))}
    panel = bars_of("loss", found, "nats")
    assert panel.categories == ("early", "late")
    assert panel.series[0].means[1].estimate == run.series("loss/train").values[:, -1].mean()
    assert "4 seeds" in bars("t", [panel]).caption


def test_a_scatter_is_of_one_member():
    made = scatter_of(FOUND, "token/coordinates", "tokens", member=2, names="abcde")
    np.testing.assert_array_equal(made.points, FOUND["token/coordinates"][2])
    assert made.names == tuple("abcde") and made.x_label == "first component"


def test_curves_against_a_setting_are_sorted():
    values = GENERATOR.normal(size=(5, 3))
    made = curve_against("p", [0.3, 0.1, 0.2], {"a": values, "computed": values[0]}, "MSE",
                         x_label="mask probability")  # fmt: skip
    first, second = made.curves
    assert first.fan.x.tolist() == [0.1, 0.2, 0.3] and first.dots and second.seeds == 0
    np.testing.assert_allclose(first.fan.median, np.median(values, axis=0)[[1, 2, 0]])


def test_what_is_not_there_is_named(make_run):
    run = make_run()
    for call, said in [
        (lambda: value_at(run, "evaluation/accuracy", 7), r"not read at 7; allowed: 0, 5, 10, 15"),
        (lambda: value_at(FOUND, "tabel"), r"figure: .*tabel.*table"),
        (lambda: value_at(FOUND, "table", members=[4]), r"members: \[4\] is not allowed: 0 to 3"),
        (lambda: heat_map_of(FOUND, "head-ablation/intact/loss"), r"has shape \[\]; needs"),
        (lambda: heat_map_of(run, "attention-map"), r"attention-map/blocks.i has shape"),
        (lambda: scatter_of(FOUND, "table"), r"scatter: table has shape \[2, 3\]; needs"),
        (lambda: curve_against("p", [1, 2], {"a": np.ones(3)}, x_label="x"), "values for 2 places"),
    ]:
        with pytest.raises(SaltusError, match=said):
            call()
