"""Comparisons: who is compared, at which step, with which numbers, and what the page says."""

import os
import re
import shutil
from math import isfinite, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from saltus.errors import SaltusError
from saltus.report.comparison.compare import compare, groups_of_sides, sides_of, write_figures
from saltus.report.comparison.differences import ABSENT, differences, experiment_of, seeds_text
from saltus.report.comparison.effects import readings, shared_series
from saltus.report.comparison.forest import draw_forest
from saltus.report.comparison.page import p_text, title, write_page
from saltus.runs import ShardWriter, create_run, open_run
from saltus.studies.loss_plateau import STUDY
from saltus.transitions.statistics.survival import kaplan_meier, log_rank, median_time

RATE = "optimizer.learning_rate"


@pytest.fixture
def record(tmp_path):
    """record(name, {series: values[member, point]}, every=…) → Run with exactly these values."""

    def write(name, values, every=1, seeds=None, overrides=None, changes=None, root="runs",
              state="done", diverged=None):  # fmt: skip
        values = {key: np.asarray(each, dtype=np.float64) for key, each in values.items()}
        members, points = next(iter(values.values())).shape
        experiment = STUDY.recipe("quick")["baseline"].override(changes or {}).to_yaml()
        seeds = range(members) if seeds is None else seeds
        given = [{}] * members if overrides is None else overrides
        rows = [{"seed": s, "overrides": o} for s, o in zip(seeds, given, strict=True)]
        path = create_run(tmp_path / root, name, experiment, rows, [list(range(members))], {})
        steps = every * (points - 1)
        with ShardWriter(path, 0) as writer:
            for point in range(points):
                each = {key: value[:, point] for key, value in values.items()}
                writer.record(every * point, each)
            writer.flush()
            writer.status(state=state, step=steps, steps=steps, diverged=diverged or {},
                          seconds=1.0, instrument_seconds=0.5)  # fmt: skip
        return open_run(path)

    return write


def groups(*runs):
    return groups_of_sides([side for run in runs for side in sides_of(run)])


def leaping(at, points=200, seed=0):
    """Losses that fall from 2 to 1 at these points (None: never)."""
    generator = np.random.default_rng(seed)
    rows = []
    for place in at:
        fallen = 0 if place is None else 1 / (1 + np.exp(-(np.arange(points) - place) / 1.5))
        rows.append(2.0 - fallen + generator.normal(0, 0.01, points))
    return np.array(rows)


def ramps(slopes, points=30):
    return np.outer(slopes, np.arange(points))


SWEEP = [{RATE: 1e-3}] * 2 + [{RATE: 2e-3}] * 2


# who is compared


def test_every_setting_of_a_sweep_is_a_group(record):
    run = record("sweep", {"loss/train": ramps([1, 2, 3, 4])}, seeds=[0, 1, 0, 1], overrides=SWEEP)
    made = groups(run)
    assert [group.label for group in made] == ["learning_rate = 0.001", "learning_rate = 0.002"]
    assert [group.places for group in made] == [(0, 1), (2, 3)]
    assert [group.color for group in made] == [0, 1]
    beside = groups(run, record("alone", {"loss/train": ramps([1, 2])}))
    assert [group.label for group in beside] == [
        "sweep · learning_rate = 0.001", "sweep · learning_rate = 0.002", "alone",
    ]  # fmt: skip


def test_a_setting_is_chosen_by_its_field_or_the_fields_last_name(record):
    run = record("sweep", {"loss/train": ramps([1, 2, 3, 4])}, seeds=[0, 1, 0, 1], overrides=SWEEP)
    for field in (RATE, "learning_rate"):
        (side,) = sides_of(run, {field: 0.002})
        assert side.places == (2, 3)
    with pytest.raises(SaltusError, match=r"no setting has .* = 0.003; there are: 0.001, 0.002"):
        sides_of(run, {RATE: 0.003})
    with pytest.raises(SaltusError, match=r"unknown varied field 'rate'\. Allowed: optimizer"):
        sides_of(run, {"rate": 0.003})
    alone = record("alone", {"loss/train": ramps([1, 2])})
    with pytest.raises(SaltusError, match="alone: its members differ in nothing but their seed"):
        sides_of(alone, {RATE: 0.003})


def test_runs_of_one_name_are_told_apart_by_where_they_lie(record):
    values = {"loss/train": ramps([1, 2])}
    same = [record("SA", values, root=root) for root in ("old/quick", "new/quick")]
    assert [group.label for group in groups(*same)] == ["SA (old)", "SA (new)"]
    other = record("SB", values, root="new/quick")
    assert [group.label for group in groups(*same, other)] == ["SA (old)", "SA (new)", "SB"]


def test_one_group_or_the_same_twice_is_no_comparison(record):
    run = record("alone", {"loss/train": ramps([1, 2])})
    with pytest.raises(SaltusError, match="only alone is given, and it is one setting"):
        groups(run)
    with pytest.raises(SaltusError, match="alone is given twice"):
        groups(run, open_run(run.path))
    many = [{RATE: float(k)} for k in range(1, 23)]
    sweep = record("sweep", {"loss/train": ramps(range(22))}, seeds=[0] * 22, overrides=many)
    with pytest.raises(SaltusError, match="22 groups are not allowed: 21 at most"):
        groups(sweep)


def test_unfinished_runs_and_diverged_seeds_are_named(record):
    values = ramps([1.0, 2.0, 3.0])
    values[1, 20:] = np.nan
    broken = record("broken", {"loss/train": values}, seeds=[4, 5, 6], state="running",
                    diverged={1: 20})  # fmt: skip
    found = compare(groups(broken, record("whole", {"loss/train": ramps([1, 2, 3])})))
    unfinished, diverged = found.notes
    assert unfinished.startswith("broken is not finished (interrupted, step 29 of 29)")
    assert diverged.startswith("broken: 1 of 3 seeds diverged (seed 5 at step 20)")
    assert found.effects[0].effect.reference.count == 2


# what differs


def test_only_fields_that_differ_are_shown():
    base = STUDY.recipe("quick")["baseline"]
    one, other = base.data(), base.override({"model.width": 32, "steps": 50}).data()
    assert differences([one, one]) == {}
    assert differences([one, other]) == {
        "model.width": [str(base.model.width), "32"],
        "steps": [str(base.steps), "50"],
    }


def test_lists_of_parts_are_compared_by_place_or_by_kind():
    one = {"instruments": [{"kind": "norms", "cadence": 1}], "task": None}
    other = {"instruments": [{"kind": "norms", "cadence": 5}], "extra": [1, 2]}
    assert differences([one, other]) == {
        "instruments.0.cadence": ["1", "5"],
        "task": ["null", ABSENT],
        "extra": [ABSENT, "1, 2"],
    }
    more = {"instruments": [{"kind": "norms"}, {"kind": "evaluation"}]}
    assert differences([{"instruments": []}, more]) == {
        "instruments": ["none", "norms, evaluation"]
    }


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "kind"]), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(["p", "q", "r"]), plain, max_size=3)


@settings(deadline=None, max_examples=60)
@given(documents, documents)
def test_equal_experiments_differ_in_nothing_and_others_in_something(one, other):
    assert differences([one, one]) == {}
    found, back = differences([one, other]), differences([other, one])
    assert (found == {}) == (one == other)
    assert all(len(set(values)) == 2 for values in found.values())
    assert {key: values[::-1] for key, values in found.items()} == back


def test_a_group_has_its_setting_and_its_own_seeds(record):
    run = record("sweep", {"loss/train": ramps([1, 2, 3, 4])}, seeds=[0, 1, 0, 1],
                 overrides=SWEEP)  # fmt: skip
    made = groups(run)
    assert differences([experiment_of(group) for group in made]) == {RATE: ["0.001", "0.002"]}
    assert seeds_text([3, 1, 2, 0]) == "0 to 3"
    assert seeds_text([5, 1]) == "1, 5"


# effects


def test_groups_are_read_where_all_have_got_to(record):
    short = record("short", {"loss/train": ramps([1.0, 1.1, 1.2], points=11)}, every=10)
    long = record("long", {"loss/train": ramps([1.0, 1.1, 1.2], points=31)}, every=7)
    made = groups(short, long)
    first, second = readings(made, shared_series(made)["loss/train"])
    assert (first.at, second.at) == (70.0, 70.0)  # both were read then, and not later
    found = compare(made).effects[0]
    assert found.at == (70.0, 70.0)
    odd = record("odd", {"loss/train": ramps([1.0, 1.1, 1.2], points=31)}, every=17)
    assert compare(groups(short, odd)).effects[0].at == (100.0, 85.0)  # they share step 0 alone
    ends = compare(made, at_end=True).effects[0]
    assert ends.at == (100.0, 210.0)
    assert ends.effect.difference.estimate == pytest.approx(1.1 * 20)


def test_the_same_seeds_are_pairs_whatever_their_order(record):
    one = record("one", {"loss/train": ramps([1.0, 5.0, 9.0])}, seeds=[0, 1, 2])
    two = record("two", {"loss/train": ramps([9.3, 1.1, 5.2])}, seeds=[2, 0, 1])
    found = compare(groups(one, two)).effects[0].effect
    assert found.paired
    assert found.p == pytest.approx(stats.ttest_1samp(29 * np.array([0.1, 0.2, 0.3]), 0).pvalue)
    other = record("other", {"loss/train": ramps([9.3, 1.1, 5.2])}, seeds=[7, 8, 9])
    welch = compare(groups(one, other)).effects[0].effect
    known = stats.ttest_ind([1.1, 5.2, 9.3], [1.0, 5.0, 9.0], equal_var=False)
    assert not welch.paired and welch.p == pytest.approx(known.pvalue)


def test_only_what_all_groups_have_is_compared_and_holm_counts_it_all(record):
    noise = np.random.default_rng(0).normal(size=(3, 4, 30))
    one = record("one", {"loss/train": noise[0], "norm/a": noise[1], "mine": noise[2]})
    two = record("two", {"loss/train": noise[1] + 1, "norm/a": noise[2] + 5, "yours": noise[0]})
    three = record("three", {"loss/train": noise[2], "norm/a": noise[0]})
    found = compare(groups(one, two, three))
    assert set(found.names) == {"loss/train", "norm/a"}
    metrics = [each.metric for each in found.effects]
    assert metrics == ["norm/a", "norm/a", "loss/train", "loss/train"]  # the largest |g| first
    p = [each.effect.p for each in found.effects]
    assert min(each.adjusted for each in found.effects) == pytest.approx(4 * min(p))


def test_no_series_in_common_is_said_in_one_line(record):
    one = record("one", {"loss/train": ramps([1, 2])})
    two = record("two", {"other": ramps([1, 2])})
    with pytest.raises(SaltusError, match="one, two have no series in common"):
        compare(groups(one, two))
    three = record("three", {"loss/train": ramps([1, 2])})
    with pytest.raises(
        SaltusError, match="--series: unknown series of all groups 'loss/tain'; did"
    ):
        compare(groups(one, three), series="loss/tain")


def test_without_the_loss_there_are_effects_and_no_leaps(record):
    made = [record(name, {"norm/a": ramps([1, 2, 4])}) for name in ("one", "two")]
    found = compare(groups(*made))
    assert found.leaps is None and len(found.effects) == 1
    assert isnan(found.effects[0].effect.p)  # the same values in every seed
    assert found.forest() is None


# leaps

EARLY = [60, 65, 70, 72, 80, 85]
LATE = [110, 118, 120, 125, None, None]


@pytest.fixture
def leapt(record):
    """Six seeds that leap early, and six of which four leap late."""
    early = record("early", {"loss/train": leaping(EARLY)}, every=10)
    late = record("late", {"loss/train": leaping(LATE, seed=1)}, every=10)
    return compare(groups(early, late))


def test_leaps_are_counted_timed_and_tested(leapt):
    early, late = leapt.leaps.groups
    assert (early.times.leaps, late.times.leaps) == (6, 4)
    np.testing.assert_allclose(early.times.times, 10 * np.array(EARLY), atol=10)
    assert late.share.estimate == pytest.approx(4 / 6)
    assert late.median == median_time(late.times)
    (against,) = leapt.leaps.contrasts
    assert against.difference.estimate == pytest.approx(1225 - 710, abs=25)
    assert against.difference.low > 0 and against.ratio.low > 1
    assert against.test == log_rank(early.times, late.times)
    assert against.test.exact == pytest.approx(2 / 924, rel=1e-6)  # of all relabellings: 12 over 6
    assert leapt.leaps.horizon == 1990
    # Means up to the horizon: seeds that never leapt count with all of it.
    expected = (10 * sum([110, 118, 120, 125]) + 2 * 1990 - 10 * sum(EARLY)) / 6
    assert against.restricted.estimate == pytest.approx(expected, abs=10)


def test_the_survival_figure_shows_the_same_times(leapt):
    (panel,) = leapt.leaps.figure().panels
    assert [(each.label, each.color) for each in panel.stairs] == [("early", 0), ("late", 1)]
    np.testing.assert_allclose(
        panel.stairs[1].share, kaplan_meier(leapt.leaps.groups[1].times).share
    )


def test_the_horizon_is_as_far_as_every_group_was_watched(record):
    early = record("early", {"loss/train": leaping(EARLY, points=150)}, every=10)
    late = record("late", {"loss/train": leaping(LATE, seed=1)}, every=10)
    found = compare(groups(late, early)).leaps
    assert found.horizon == 1490
    assert found.contrasts[0].restricted.estimate < 0  # now the other is the reference


def test_a_seed_that_diverges_is_censored_there(record):
    values = leaping(LATE)
    values[4, 50:] = np.nan
    broken = record("broken", {"loss/train": values}, every=10, diverged={4: 500})
    whole = record("whole", {"loss/train": leaping(EARLY, seed=1)}, every=10)
    own = compare(groups(broken, whole)).leaps.groups[0].times
    assert (own.times[4], own.happened[4]) == (490.0, False)


def test_a_group_of_which_nothing_is_left_is_said_to_be_so(record, tmp_path):
    nothing = {"loss/train": np.full((2, 30), np.nan), "x": np.full((2, 30), np.inf)}
    lost = record("lost", nothing, diverged={0: 0, 1: 0})
    whole = record("whole", {"loss/train": leaping(EARLY[:2]), "x": ramps([1, 2], 200)})
    for order in ((lost, whole), (whole, lost)):
        found = compare(groups(*order))
        assert all(isnan(each.effect.p) for each in found.effects)
        assert not found.leaps.groups[order.index(lost)].times.leaps
        text = write_page(found, tmp_path / "c.html", "again").read_text()
        assert "lost: 2 of 2 seeds diverged (seed 0 at step 0 and 1 at step 0)" in text


def test_a_single_seed_has_no_interval_and_no_test(record, tmp_path):
    found = compare(groups(*(record(name, {"loss/train": leaping([at])})
                             for name, at in (("one", 60), ("two", 90)))))  # fmt: skip
    assert isnan(found.effects[0].effect.p) and found.forest() is None
    assert found.leaps.contrasts[0].test.exact == 1.0
    text = write_page(found, tmp_path / "c.html", "again").read_text()
    assert "no interval" in text


def test_rises_are_leaps_with_the_direction_up(record):
    made = [
        record(name, {"evaluation/accuracy": 2 - leaping(at, seed=seed)})
        for seed, (name, at) in enumerate({"early": EARLY, "late": LATE}.items())
    ]
    found = compare(groups(*made), series="evaluation/accuracy", direction="up").leaps
    assert [each.times.leaps for each in found.groups] == [6, 4]
    assert "rise of accuracy" in found.figure().title
    down = compare(groups(*made), series="evaluation/accuracy").leaps
    assert not any(each.times.leaps for each in down.groups)


def test_flows_are_compared_on_their_own_clock(record):
    changes = {"optimizer": {"kind": "gradient-flow", "duration": 40.0}, "steps": 199}
    changes |= {"examples": 64, "batch": 64}
    made = [
        record("early", {"loss/train": leaping(EARLY)}, changes=changes),
        record("late", {"loss/train": leaping(LATE, seed=1)}, changes=changes),
    ]
    found = compare(groups(*made))
    assert found.leaps.x_label == "time"
    assert found.leaps.horizon == pytest.approx(40.0)
    assert found.effects[0].at == pytest.approx((40.0, 40.0))


def test_a_flow_and_steps_of_a_descent_have_no_time_in_common(record):
    changes = {"optimizer": {"kind": "gradient-flow", "duration": 40.0}, "steps": 199}
    changes |= {"examples": 64, "batch": 64}
    flow = record("flow", {"loss/train": leaping(EARLY)}, changes=changes)
    descent = record("descent", {"loss/train": leaping(LATE, seed=1)}, every=10)
    found = compare(groups(flow, descent))
    assert found.leaps is None
    assert found.effects[0].at == (199.0, 1990.0)
    assert "different clocks" in found.notes[-1]


# the page and the files


def test_the_page_says_every_number_and_asks_the_network_nothing(leapt, tmp_path):
    text = write_page(leapt, tmp_path / "made" / "c.html", "saltus compare early late").read_text()
    for words in ("late against early", "4 of 6", "Log-rank p, exact", "What differs",
                  "saltus compare early late", "Seeds still before the leap"):  # fmt: skip
        assert words in text
    assert not re.search(r"""(?:src|href)=["']?https?:""", text)
    assert text.count('class="forest-strip k') == sum(
        isfinite(each.effect.standardised.estimate) for each in leapt.effects
    )


WIDER = """width => [...document.querySelectorAll("body *")]
  .filter(each => !each.closest(".scroll, pre, .command code, svg"))
  .filter(each => each.getBoundingClientRect().right > width + 0.5)
  .map(each => each.outerHTML.slice(0, 200))"""


def test_the_page_fits_a_phone_and_a_desk_and_says_nothing_wrong(leapt, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("SALTUS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no browser, and SALTUS_CHROMIUM is not set")
    path = write_page(leapt, tmp_path / "c.html", "saltus compare early late")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    wrong = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=flags)
        for width in (390, 1440):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda said: wrong.append(said.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("request", lambda one: one.url == path.as_uri() or wrong.append(one.url))
            page.goto(path.as_uri())
            page.locator(".plot").first.hover()
            assert page.locator(".tip").count() == 1
            assert page.evaluate(WIDER, width) == []
        browser.close()
    assert wrong == []


def test_names_are_text_and_never_markup(record, tmp_path):
    hostile = "<script>alert(1)</script>"
    made = [
        record(name, {hostile: ramps(slopes)}) for name, slopes in (("a", [1, 2]), ("b", [3, 5]))
    ]
    text = write_page(compare(groups(*made)), tmp_path / "c.html", hostile).read_text()
    assert hostile not in text and "&lt;script&gt;" in text


def test_many_groups_share_one_page(record, tmp_path):
    generator = np.random.default_rng(0)
    overrides = [{RATE: rate} for rate in (1e-3, 2e-3, 3e-3) for _ in range(3)]
    values = {"loss/train": generator.normal(size=(9, 30)), "x": generator.normal(size=(9, 30))}
    run = record("sweep", values, seeds=[0, 1, 2] * 3, overrides=overrides)
    found = compare(groups(run))
    assert title(found.groups) == "2 others against learning_rate = 0.001"
    assert len(found.effects) == 4
    text = write_page(found, tmp_path / "c.html", "saltus compare sweep").read_text()
    assert "All 3 groups at once" in text and text.count('class="forest-row"') == 2


def test_a_forest_holds_all_estimates_and_shows_what_leaves_it(record):
    generator = np.random.default_rng(0)
    values = {f"m/{k}": generator.normal(size=(3, 20)) for k in range(6)}
    shifted = {name: each + 3 * k for k, (name, each) in enumerate(values.items())}
    shifted = {name: each + generator.normal(0, 0.2, (3, 20)) for name, each in shifted.items()}
    forest = compare(groups(record("a", values), record("b", shifted))).forest()
    assert len(forest.rows) == 6
    sizes = [abs(row.effect.estimate) for row in forest.rows]
    assert sizes == sorted(sizes, reverse=True) and forest.reach > sizes[0]
    beyond = sum(
        (row.effect.high > forest.reach) + (row.effect.low < -forest.reach) for row in forest.rows
    )
    assert draw_forest(forest).count('class="beyond') == beyond > 0
    assert "6 pairs" not in forest.caption and "3 pairs of equal seeds" in forest.caption


def test_every_figure_is_written_in_three_formats(record, tmp_path):
    pytest.importorskip("matplotlib")
    noise = np.random.default_rng(0).normal(size=(2, 3, 200))
    early = record("early", {"loss/train": leaping(EARLY[:3]), "x": noise[0]})
    late = record("late", {"loss/train": leaping(LATE[:3], seed=1), "x": noise[1] + 2})
    written = write_figures(compare(groups(early, late)), tmp_path / "figures")
    assert len(written) == 4  # survival, loss, the other series, forest
    paths = [path for each in written for path in each.paths]
    starts = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in paths)
    assert paths[-1].name == "4-standardised-effect-on-every-metric.png"


def test_p_values_are_rounded_up_to_what_can_be_said():
    assert [p_text(p) for p in (0.5, 0.0312, 0.00004, float("nan"), None)] == [
        "0.5", "0.031", "< 0.001", "–", "–",
    ]  # fmt: skip
