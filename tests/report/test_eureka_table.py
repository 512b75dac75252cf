"""The table of Eureka-moments, and the maps of a sweep, from runs that were written by hand."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report.eureka_maps import eureka_maps
from saltus.report.eureka_table import COLUMNS, eureka_figures, moments_by_group
from saltus.report.kinds import draw_any
from saltus.report.publication import render
from saltus.runs import ShardWriter, create_run, open_run
from saltus.studies.loss_plateau import STUDY as REAL
from saltus.transitions import log_rank, median_time, share_interval
from saltus.transitions.statistics.eureka import Criterion

NEVER = 10**9
SWEEP = [(rate, start) for rate in (1e-3, 1e-4) for start in (1.0, 3.0)]


@pytest.fixture
def accurate(tmp_path):
    """accurate(name, moments) → a run whose seeds go from 0.55 to 0.97 at these steps."""

    def make(name, moments, overrides=None, budget=2000):
        text = REAL.recipe("quick")["baseline"].to_yaml()
        own = overrides or [{}] * len(moments)
        members = [{"seed": place, "overrides": each} for place, each in enumerate(own)]
        places = [list(range(len(moments)))]
        path = create_run(tmp_path / "runs", name, text, members, places, {"revision": None})
        with ShardWriter(path, 0) as writer:
            for step in range(0, budget + 1, 100):
                values = np.where(step < np.array(moments), 0.55, 0.97)
                writer.record(step, {"evaluation/accuracy": values, "training/accuracy": values})
            writer.flush()
            writer.status(
                state="done", step=budget, diverged={}, seconds=1.0, instrument_seconds=0.0
            )
        return open_run(path)

    return make


@pytest.fixture
def sweep(accurate):
    """Two learning rates by two starts, two seeds each."""
    overrides = [
        {"optimizer.learning_rate": rate, "interventions.0.start": start}
        for rate, start in SWEEP
        for _ in range(2)
    ]
    moments = [300, 500, NEVER, NEVER, 700, NEVER, 1900, 900]
    return accurate("sweep", moments, overrides)


def test_one_figure_and_one_table_per_comparison(accurate):
    arms = {"softmax": accurate("softmax", [1200, NEVER, NEVER, 1900]),
            "heated": accurate("heated", [300, 400, 500, 600])}  # fmt: skip
    figure, table = eureka_figures(arms)
    found = moments_by_group(arms)
    assert [each.label for each in figure.panels[0].stairs] == ["softmax", "heated"]
    assert table.columns == (*COLUMNS, "Log-rank p against softmax")
    one, other = (dict(zip(table.columns, row.cells, strict=True)) for row in table.rows)
    assert one["Eureka-ratio"].value == share_interval(1, 4)  # 1900 is too late to be confirmed
    assert (one["Runs"].text, one["Budget, steps"].text) == ("4", "2,000")
    assert one["Median e*"].text == "> 2,000"
    assert one["Mean e*, successes alone"].text == "1,200"
    assert one["Mean e*, censored"].text == "1,800"
    assert other["Median e*"].value == median_time(found["heated"].times)
    assert other["Mean e*, successes alone"].text == other["Mean e*, censored"].text == "450"
    assert other["10–90 %"].text == "100" and other["Saturation"].text == "450"
    test = log_rank(found["softmax"].times, found["heated"].times)
    assert other[table.columns[-1]].value == test.best and one[table.columns[-1]].text == "–"
    assert "softmax: 1 run crossed the threshold too late to be confirmed" in table.caption
    assert [row.color for row in table.rows] == [0, 1]
    assert "not known" in draw_any(table)


def test_another_reference_and_a_single_arm(accurate):
    arms = {"a": accurate("a", [300, 400]), "b": accurate("b", [500, 600])}
    _, table = eureka_figures(arms, reference="b")
    assert table.columns[-1] == "Log-rank p against b" and table.rows[1].cells[-1].text == "–"
    _, alone = eureka_figures({"a": arms["a"]}, series="training/accuracy")
    assert alone.columns == COLUMNS and "training/accuracy is at or above 0.75" in alone.caption
    with pytest.raises(SaltusError, match="reference: unknown arm 'c'"):
        eureka_figures(arms, reference="c")
    with pytest.raises(SaltusError, match="unknown metric 'evaluation/loss'"):
        eureka_figures(arms, "evaluation/loss", Criterion(1.0, 0.5))


def test_settings_of_one_run_are_compared_like_arms(sweep):
    _, table = eureka_figures({"sweep": sweep})
    assert len(table.rows) == 4 and "learning_rate = 0.001, start = 1.0" in table.rows[0].label
    assert [row.cells[0].text for row in table.rows] == ["100 %", "0 %", "50 %", "50 %"]


def test_a_sweep_is_two_maps(sweep):
    ratio, time = (each.maps[0] for each in eureka_maps(sweep, "learning_rate", "start"))
    assert ratio.columns == ("0.0001", "0.001") and ratio.rows == ("start 1.0", "start 3.0")
    assert ratio.texts == (("1/2", "2/2"), ("1/2", "0/2"))
    assert ratio.values.tolist() == [[0.5, 1.0], [0.5, 0.0]]
    interval = share_interval(1, 2)
    assert (ratio.low[0, 0], ratio.high[0, 0]) == (interval.low, interval.high)
    assert time.texts == (("700", "400"), ("900", "> 2,000"))
    assert time.values[1, 1] == 2000 and ratio.counts.tolist() == [[2, 2], [2, 2]]
    for made in eureka_maps(sweep, "learning_rate", "start"):
        assert "2 runs in each cell, budget 2,000 steps" in made.caption
        assert draw_any(made) and render(made, ".svg")
    assert "> 2,000" in draw_any(eureka_maps(sweep, "learning_rate", "start")[1]).replace(
        "&gt;", ">"
    )


def test_seeds_of_several_runs_stand_together_and_others_are_held(sweep, accurate):
    more = accurate("more", [300], [{"optimizer.learning_rate": 1e-3, "interventions.0.start": 1}])
    ratio, _ = eureka_maps([sweep, more], "learning_rate", where={"start": 1.0})
    (made,) = ratio.maps
    assert made.texts == (("1/2", "3/3"),) and made.counts.tolist() == [[2, 3]]
    assert "2 to 3 runs in each cell" in ratio.caption and "3 seeds" in draw_any(ratio)


def test_bad_sweeps_get_one_line(sweep, accurate):
    with pytest.raises(SaltusError, match="unknown varied field 'rate'"):
        eureka_maps(sweep, "rate", "start")
    with pytest.raises(SaltusError, match=r"differ in interventions\.0\.start as well; hold it"):
        eureka_maps(sweep, "learning_rate")
    short = accurate("short", [300], [{"optimizer.learning_rate": 1e-3}], budget=1000)
    with pytest.raises(SaltusError, match="budgets of 1,000 and 2,000 steps"):
        eureka_maps(
            [short, accurate("b", [300], [{"optimizer.learning_rate": 1e-3}])], "learning_rate"
        )
    with pytest.raises(SaltusError, match="no runs are given"):
        eureka_maps([], "learning_rate")
