"""The first page: norms, saturation and heads of all studies on the clock of each seed's leap."""

import numpy as np
import pytest

from saltus.report import write_report
from saltus.report.across_leaps import across_leaps
from saltus.runs import ShardWriter, create_run, open_run
from saltus.studies.loss_plateau import STUDY

STEPS = 100


@pytest.fixture
def watched(tmp_path):
    """A run of four seeds whose norm runs three times as fast in the leap."""

    def make(name="baseline", seeds=4, heads=True):
        experiment = STUDY.recipe("quick")["baseline"].override({"steps": STEPS}).to_yaml()
        members = [{"seed": seed, "overrides": {}} for seed in range(seeds)]
        path = create_run(
            tmp_path / "runs", name, experiment, members, [list(range(seeds))], {"revision": None}
        )
        generator = np.random.default_rng(0)
        late = 50 + 2 * np.arange(seeds)
        with ShardWriter(path, 0) as writer:
            for step in range(STEPS + 1):
                solved = 1 / (1 + np.exp(-(step - late) / 2))
                values = {"loss/train": 2.6 - 1.3 * solved + generator.normal(0, 0.01, seeds)}
                values["norm/parameters"] = 10 + 0.01 * step + 0.18 * solved
                values["saturation/final"] = 0.2 + 0.6 * (step > late + 20)
                if heads:
                    values["saturation/zeta/final"] = np.where(step > late - 20, 0.75, 0.25)
                writer.record(step, values)
            writer.flush()
            writer.status(state="done", step=STEPS, diverged={}, seconds=1.0, instrument_seconds=0)
        return open_run(path)

    return make


def test_when_things_happen_on_the_leaps_clock(watched):
    found = across_leaps({"loss-plateau: baseline": watched()})
    assert found is not None
    figure, table = found
    assert [panel.name for panel in figure.panels] == [
        "Norm of the parameters", "Saturation of the network", "Saturation of the heads alone"
    ]  # fmt: skip
    norm = figure.panels[0].curves[0]
    assert norm.seeds == 4
    assert norm.fan.median[0] == pytest.approx(1.0, abs=0.01)
    cells = dict(zip(table.columns, table.rows[0].cells, strict=True))
    assert cells["Seeds that leapt"].text == "4 of 4"
    speed = cells["Norm's speed in the leap"].value
    assert 2.0 < speed.low < speed.high < 5.0
    assert cells["Saturation half way"].value.low > 1.2
    assert cells["Heads half way"].value.high < 0.8


def test_what_was_not_read_is_not_drawn(watched, make_run):
    assert across_leaps({"plain": make_run()}) is None
    found = across_leaps({"plain": make_run(), "watched": watched(heads=False)})
    assert found is not None
    figure, table = found
    assert len(figure.panels) == 2
    assert [row.label for row in table.rows] == ["watched"]
    assert table.rows[0].cells[-1].text == "–"


def test_it_is_the_first_thing_in_a_report(watched, make_report, tmp_path):
    report = make_report()
    report.arms["watched"] = watched("watched")
    text = write_report([report], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 0 < text.index('id="across"') < text.index(f'id="{report.study.name}"')
