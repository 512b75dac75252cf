"""Analyses of parameters and states: a run is read afterwards as it was read live, a plain loop
reads the same, and the page about them runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import saltus
from saltus.instruments import Instrument
from saltus.training.launch import start
from saltus.training.revisit import revisit
from tiny_checkpoints import DIGITS, MATRICES, found, trained
from tiny_experiments import tiny

PAGE = Path(__file__).resolve().parents[2] / "docs" / "representations.md"
BOTH = [{"kind": "embedding-geometry"}, {"kind": "position-shuffle", "samples": 24}]
LIVE = {
    "digits": [*BOTH, {"kind": "mlp-probe", "train": 8, "test": 16, "hidden": 8, "iterations": 9}],
    "matrices": [*BOTH, {"kind": "linear-probe", "train": 40, "test": 24}],
}
DONOR = [
    {"kind": "component-switching", "samples": 24},
    {"kind": "embedding-geometry", "progress": True},
]
WHERE = {"digits": DIGITS, "matrices": MATRICES}
every = pytest.mark.parametrize("name", LIVE)


@every
def test_a_run_is_read_afterwards_as_it_was_read_live_and_with_a_donor(name, tmp_path):
    live = [{**each, "cadence": 2} for each in LIVE[name]]
    run = start(tiny(instruments=live, seeds=2, steps=2, **WHERE[name]), tmp_path)
    again = revisit(run, [Instrument.parse(each) for each in live])
    names = [each for each in run.names() if each != "loss/train"]
    assert sorted(again) == names and len(names) > 10
    for each in names:
        then = run.array(each).values[:, -1]
        assert np.array_equal(again[each].astype(then.dtype), then, equal_nan=True), each

    parts = [Instrument.parse(each) for each in DONOR]
    itself = revisit(run, parts, 2, run.checkpoint(2))
    moved = revisit(run, parts, 2, run.checkpoint(0))
    switched = {each for each in moved if "component-switching" in each}
    for each in switched:
        metric = each.split("/", 2)[2]
        intact = itself[f"component-switching/intact/{metric}"]
        assert np.array_equal(itself[each], intact, equal_nan=True)
        assert np.array_equal(moved[f"component-switching/intact/{metric}"], intact, equal_nan=True)
    loss = "component-switching/donor/loss"
    assert (moved[loss] != itself[loss]).all()
    progress = "embedding-geometry/token/progress"
    assert itself[progress].shape == itself["embedding-geometry/token/coordinates"].shape
    assert not np.array_equal(itself[progress], moved[progress])


@every
def test_a_plain_loop_reads_what_the_engine_reads(name):
    for each in LIVE[name] + DONOR:
        part = Instrument.parse(each)
        if part.kind == "mlp-probe":
            continue  # its training is not continuous in its inputs
        made, donor = trained([part], where=WHERE[name]), trained([], 5, where=WHERE[name])
        together = found(made, donor=donor)
        batch = made.draw("evaluation", 2, part.needs(made.task).samples or 32)
        for row in range(2):
            own = {key: value[row].detach() for key, value in made.parameters.items()}
            theirs = {key: value[row].detach() for key, value in donor.parameters.items()}
            made.module.load_state_dict(own)
            shown = {key: value[row] for key, value in batch.items()}
            alone = saltus.read(made.module, [part], made.task, shown, theirs)
            assert alone.keys() == together.keys()
            for key, value in alone.items():
                torch.testing.assert_close(value, together[key][row], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["mlp-probe", "linear-probe"])
def test_a_task_that_offers_nothing_to_probe_is_refused_before_anything_is_trained(kind, tmp_path):
    where = {"linear-probe": DIGITS, "mlp-probe": MATRICES}[kind]
    with pytest.raises(saltus.SaltusError, match=rf"{kind}.*task "):
        start(tiny(instruments=[kind], **where), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    for source in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(compile(source, "representations.md", "exec"), namespace)


def test_the_page_names_what_the_instruments_give_and_fits_the_width_of_the_code():
    text = PAGE.read_text("utf-8")
    for kind in ("component-switching", "embedding-geometry", "position-shuffle", "linear-probe"):
        assert f"`{kind}`" in text
    assert max(len(line) for line in text.split("\n") if not line.startswith("|")) <= 100
