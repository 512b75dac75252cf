"""Detectors beside one another: textbook cases, baselines that keep working, files, real runs."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import open_run
from saltus.training.launch import start
from saltus.transitions.dropbench import baselines
from saltus.transitions.dropbench import detectors as dropbench
from saltus.transitions.dropbench.curves import Labelled, curve, curves
from saltus.transitions.dropbench.detectors import Detector, agreement, load, measure, measure_live
from saltus.transitions.dropbench.files import read_curves, write_curves
from saltus.transitions.dropbench.real import real_curves
from saltus.transitions.transition import Plateau, Transition

STEPS = np.arange(400, dtype=np.int64)


def stairs(*drops, noise=0.02, seed=0):
    grain = noise * np.random.default_rng(seed).normal(size=len(STEPS))
    return 3.0 - sum(1.0 * (at <= STEPS) for at in drops) + grain


@pytest.mark.parametrize("name", ["pelt-bic", "pelt", "pelt-rbf", "binseg"])
@pytest.mark.parametrize("drops", [(), (200,), (120, 290)], ids=["none", "one", "two"])
def test_change_points_read_as_drops_find_a_staircase(name, drops):
    found = baselines.OFFLINE[name](STEPS, stairs(*drops), ())
    assert len(found) == len(drops)
    assert all(abs(a - b) <= 5 for a, b in zip(found, drops, strict=True))  # binseg: every 5th


@pytest.mark.parametrize("name", ["pelt", "pelt-rbf", "binseg"])
@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (np.linspace(3, 1, 400) + stairs() - 3, ()),
        (stairs() - 1.0 * ((STEPS > 200) & (STEPS < 230)), ()),
        (stairs() + 2.0 * ((STEPS > 200) & (STEPS < 210)), ()),
        (stairs(200), (200.0,)),
        (np.ones(400), ()),
        (4.0 - stairs(200), ()),
    ],
    ids=["ramp", "dip", "spike", "known-change", "constant", "rise"],
)
def test_the_rule_names_nothing_else(name, values, changes):
    assert baselines.OFFLINE[name](STEPS, values, changes) == []


def test_half_height_is_the_rule_of_drops():
    found = baselines.half_height(STEPS, np.where(STEPS < 200, 3.0, 0.5), ())
    assert len(found) == 1 and 200 < found[0] < 300
    assert baselines.half_height(STEPS[:2], np.ones(2), ()) == []


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_baselines_need_no_scale(size):
    for rule in (baselines.pelt, baselines.pelt_rbf, baselines.binseg):
        assert rule(STEPS, size * stairs(200), ()) == rule(STEPS, stairs(200), ())


def test_cusum_is_the_textbook_loop():
    """One member by a plain loop over the definition, three at once by the class."""
    rows = np.stack([stairs(150, noise=0.3, seed=seed) for seed in range(3)], axis=1)
    watch = baselines.Cusum(3)
    said = [event for step, row in zip(STEPS.tolist(), rows, strict=True)
            for event in watch.update(step, row)]  # fmt: skip
    for member in range(3):
        series, expected, start = rows[:, member], [], 0
        while start + 25 < len(series):
            first = series[start + 5 : start + 25]
            total = 0.0
            for at in range(start + 25, len(series)):
                total = max(0.0, total + (first.mean() - series[at]) / first.std(ddof=1) - 0.5)
                if total > 5:
                    expected.append(at)
                    break
            else:
                break
            start = at + 1
        assert [event.step for event in said if event.member == member] == expected
        assert any(150 <= at <= 160 for at in expected)


@pytest.mark.parametrize("name", sorted(baselines.LIVE))
def test_a_live_detector_judges_members_one_by_one(name):
    rows = np.stack([stairs(150 + 40 * seed, seed=seed) for seed in range(3)], axis=1)

    def said(columns):
        watch = baselines.LIVE[name](len(columns))
        found = [watch.update(step, rows[i, columns]) for i, step in enumerate(STEPS.tolist())]
        return [(columns[each.member], each.step, each.since) for some in found for each in some]

    alone = sorted(event for member in range(3) for event in said([member]))
    assert sorted(said([0, 1, 2])) == alone and len(alone) >= 3


def told(watch_class, changes):
    watch, values = watch_class(1), stairs(200)
    return [
        event.step
        for step, value in zip(STEPS.tolist(), values, strict=True)
        for event in watch.update(step, np.array([value]), changed=step in changes)
    ]


@pytest.mark.parametrize("name", ["cusum-cautious", "pelt-again"])
def test_a_live_baseline_that_is_told_of_a_change_is_silent_about_it(name):
    assert told(baselines.LIVE[name], ()) != [] and told(baselines.LIVE[name], (200,)) == []


def test_offline_results_are_steps_or_transitions():
    plateau = Plateau(3.0, 0.0, 199.0)
    results = [
        Transition(plateau, 399.0, 199.0, 200.0, 201.0, 202.0, 2.0),
        Transition(None, 399.0),
        np.int64(300),
        100.5,
    ]
    steps = dropbench.drop_steps(Detector("mine", "offline", lambda *_: results), curve("test", 0))
    assert steps == [100.5, 200.0, 300.0]


class ToldOnce:
    """Alarms once, at the first step at which it is told of a change, or else at the tenth."""

    def __init__(self, members):
        self.members, self.count = members, 0

    def update(self, step, values, changed=False):
        assert len(values) == self.members
        self.count += 1
        if changed or self.count == 10:
            return [SimpleNamespace(member=self.members - 1, step=step, kind="leap begun", since=0)]
        return [SimpleNamespace(member=0, step=step, kind="plateau", since=0)]


def test_a_live_detector_sees_each_clock_apart_and_is_told_of_its_changes():
    made = list(curves("test", 96))
    done = measure_live(Detector("mine", "live", ToldOnce), made)
    for each, said in zip(made, done.named, strict=True):
        if each.changes:
            assert set(each.changes) <= set(said)
    clocks = {(each.steps.tobytes(), each.changes) for each in made}
    alarms = sum(map(len, done.named))
    assert alarms == len(clocks) + sum(len(changes) for _, changes in clocks)


def test_measuring_shows_only_as_many_curves_as_a_detector_asks_for():
    made, seen = list(curves("test", 40)), []
    slow = Detector("slow", "offline", lambda *_: [], at_most=12)
    done = measure(slow, made, seen.append)
    assert done.score.curves == len(done.named) == sum(seen) == 12
    assert done.score.recall.estimate == 0.0 and done.milliseconds >= 0


def test_our_own_detectors_beat_the_textbook_on_the_same_curves():
    """A loose floor under the published table, on short curves that nothing was tuned on."""
    made = [each for each in curves("test", 192, seed=1) if len(each.steps) <= 250]
    by_name = {each.name: each for each in dropbench.detectors()}
    assert set(by_name) == {"find", "watch", *baselines.OFFLINE, *baselines.LIVE}
    ours = measure(by_name["find"], made).score
    textbook = measure(by_name["pelt-bic"], made).score
    assert ours.precision.estimate > 0.9 > 0.5 > textbook.precision.estimate
    assert ours.recall.estimate > 0.6 and ours.alarmed.estimate < 0.05
    watch = measure_live(by_name["watch"], made).score
    cusum = measure_live(by_name["cusum"], made).score
    assert watch.false_per_million.estimate < 0.3 * cusum.false_per_million.estimate
    assert watch.detected.estimate > 0.6


def test_agreement_is_one_with_oneself_and_none_with_the_silent():
    made = [Labelled("r", "real", STEPS, stairs(200), None)]
    one = measure(Detector("a", "offline", lambda *_: [100.0, 200.0]), made)
    other = measure(Detector("b", "offline", lambda *_: [204.0, 300.0, 350.0]), made)
    silent = measure(Detector("c", "offline", lambda *_: []), made)
    assert agreement(one, one, made) == 1.0
    assert agreement(one, other, made) == agreement(other, one, made) == pytest.approx(2 / 5)
    seen_less = measure(Detector("d", "offline", lambda *_: [200.0], at_most=1), made * 2)
    twice = measure(Detector("a", "offline", lambda *_: [100.0, 200.0]), made * 2)
    assert agreement(twice, seen_less, made * 2) == pytest.approx(2 / 3)  # on the first alone
    assert agreement(one, silent, made) == 0.0 and np.isnan(agreement(silent, silent, made))


MINE = """\
def half_way(steps, values, changes):
    return [steps[0]]
def broken(steps, values, changes):
    raise ValueError("no\\nidea")
number = 3
class Blind:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_of_a_test.py").write_text(MINE)
    (tmp_path / "torn_of_a_test.py").write_text("import nothing_like_it")
    monkeypatch.chdir(tmp_path)


def test_a_function_of_the_current_directory_is_found(mine):
    found = load("mine_of_a_test:half_way", "offline")
    assert found.name == "half_way" and dropbench.drop_steps(found, curve("test", 0)) == [0.0]


@pytest.mark.parametrize(
    ("place", "kind", "message"),
    [
        ("half_way", "offline", "'half_way' is not allowed: write package.module:name"),
        ("a:", "offline", "'a:' is not allowed: write package.module:name"),
        ("nowhere.at.all:f", "offline", "cannot import nowhere.at.all: ModuleNotFoundError: "
                                        "No module named 'nowhere'"),
        ("torn_of_a_test:f", "offline", "cannot import torn_of_a_test: ModuleNotFoundError: "
                                        "No module named 'nothing_like_it'"),
        ("mine_of_a_test:f", "offline", "mine_of_a_test has no function or class 'f'"),
        ("mine_of_a_test:number", "offline", "mine_of_a_test has no function or class 'number'"),
        ("mine_of_a_test:Blind", "live", "'mine_of_a_test:Blind' is no class with a method "
                                         "update(step, values)"),
    ],
    ids=["no-colon", "no-name", "no-module", "torn", "no-function", "number", "no-update"],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(mine, place, kind, message):
    with pytest.raises(SaltusError) as caught:
        load(place, kind)
    assert str(caught.value) == message


def test_a_rule_that_fails_is_named_with_its_curve(mine):
    with pytest.raises(SaltusError) as caught:
        measure(load("mine_of_a_test:broken", "offline"), [curve("test", 5)])
    assert str(caught.value) == "broken fails on curve test/0/5: ValueError: no idea"
    with pytest.raises(SaltusError, match="mine fails on curve test/0/5: TypeError"):
        measure(Detector("mine", "offline", lambda *_: 7), [curve("test", 5)])


def test_curves_come_back_from_their_files_as_they_were(tmp_path):
    made = [*curves("test", 40), Labelled("r", "real", STEPS, stairs(), None)]
    paths = write_curves(tmp_path / "new" / "set", made)
    back = read_curves(tmp_path / "new" / "set")
    for before, after in zip(made, back, strict=True):
        np.testing.assert_array_equal(before.steps, after.steps)
        np.testing.assert_array_equal(before.values, after.values)
        fields = ("name", "kind", "leaps", "changes")
        assert [getattr(before, f) for f in fields] == [getattr(after, f) for f in fields]
    assert any(leap.ratio == np.inf for each in back for leap in each.leaps or ())
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_curves(tmp_path / "again", made)] == first
    json.loads(first[1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_what_is_no_set_and_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(SaltusError, match="holds no labelled curves"):
        read_curves(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SaltusError, match=r"cannot write .*curves.npz: not a directory"):
        write_curves(tmp_path / "file" / "x", [curve("test", 0)])


RUN = """\
name: tiny
task: {kind: moving-window-sum, length: 4, alphabet: 4, modulus: 5}
model: {kind: decoder, width: 8}
instruments: [{kind: evaluation, cadence: 10}]
steps: 40
batch: 4
evaluation_batch: 8
seeds: 2
engine: {workers: 1}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return start(Experiment.from_yaml(RUN), tmp_path_factory.mktemp("real")).path


def test_losses_of_finished_runs_are_curves(trained):
    found = list(real_curves(trained.parent))
    series = open_run(trained).series("loss/train")
    place = f"{trained.name}/loss/train"
    assert [each.name for each in found] == [f"{place}/0", f"{place}/1"]  # evaluations are too few
    for each, values in zip(found, series.values, strict=True):
        assert each.kind == "real"
        np.testing.assert_array_equal(each.values, values)


def test_the_accuracy_labels_the_loss(trained, monkeypatch):
    """Half of the way from the first reading to 1; silent where it never comes or began there."""
    read = {
        "evaluation/accuracy": [[0.2, 0.3, 0.59, 0.6, 1.0], [0.2, 0.5, 0.5, 0.5, 0.59]],
        "loss/train": [[2.0] * 40, [1.0] * 33 + [np.nan] * 7],
        "class-loss/first": [[2.0] * 40] * 2,
    }
    run = SimpleNamespace(
        path=trained,
        status={"state": "done"},
        members=[0, 1],
        names=lambda: sorted(read),
        series=lambda name: SimpleNamespace(
            steps=np.arange(len(read[name][0])) * (10 if "accuracy" in name else 1),
            values=np.array(read[name]),
        ),
        array=lambda name: SimpleNamespace(values=np.array(read[name])),
    )
    monkeypatch.setattr("saltus.runs.list_runs", lambda root: [run])
    labels = {each.name.removeprefix(f"{trained.name}/"): each for each in
              real_curves(trained.parent)}  # fmt: skip
    (leap,) = labels["loss/train/0"].leaps
    assert (leap.onset, leap.step, leap.late) == (20.0, 30.0, 30.0) and np.isnan(leap.height)
    assert labels["loss/train/1"].leaps is None and len(labels["loss/train/1"].steps) == 33
    assert labels["class-loss/first/0"].leaps is None


def test_unfinished_runs_and_empty_directories_give_nothing(trained, tmp_path):
    assert list(real_curves(tmp_path)) == []
    copy = shutil.copytree(trained, tmp_path / "copy")
    for status in copy.glob("shards/*/status.json"):
        text = status.read_text().replace('"done"', '"interrupted"')
        status.write_text(text)
    assert list(real_curves(tmp_path)) == []
