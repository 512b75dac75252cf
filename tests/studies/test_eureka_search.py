"""The search of the Eureka study: its settings, and what is written down of them."""

import json

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.studies.eureka import search
from saltus.studies.eureka.recipe import METHODS, recipe
from saltus.studies.eureka.search import PANELS, Panel, maps, of_seeds, p_values, setting, shown

CELLS = [(name, row, method) for name, panel in PANELS.items()
         for row in panel.rows for method in panel.methods]  # fmt: skip
EARLY = {"step": [100.0, 200.0, None], "plateau": [50.0, 50.0, 100.0],
         "early": [50.0, 150.0, None], "late": [150.0, None, None],
         "last": [400.0, 400.0, 400.0]}  # fmt: skip
NEVER = {"step": [None] * 3, "plateau": [50.0] * 3, "early": [None] * 3, "late": [None] * 3,
         "last": [400.0] * 3}  # fmt: skip
RECORDED = {"title": "Made", "axis": "width", "steps": 400,
            "cells": {"32": {"softmax": NEVER, "norm-softmax": EARLY}}}  # fmt: skip


@pytest.mark.parametrize(("name", "row", "method"), CELLS)
def test_every_cell_is_an_experiment_of_its_panel(name, row, method):
    panel = PANELS[name]
    cell = setting(panel, row, method)
    assert (cell.steps, len(cell.seeds)) == (panel.steps, panel.seeds)
    kinds = [part.kind for part in cell.interventions]
    assert ("heat-treatment" in kinds) == (method == "heat-treatment")
    assert (cell.model.attention.kind == "norm-softmax") == method.startswith("norm-softmax")


def test_cells_of_a_panel_differ():
    for panel in PANELS.values():
        texts = [setting(panel, row, method).to_yaml()
                 for row in panel.rows for method in panel.methods]  # fmt: skip
        assert len(set(texts)) == len(texts)


def test_the_confirmation_shares_no_seed_with_what_it_confirms():
    seeds = [set(setting(PANELS[name], "16", "softmax").seeds)
             for name in ("stand-in", "confirmation")]  # fmt: skip
    assert not seeds[0] & seeds[1]
    assert set(recipe("quick")["mlm-softmax"].seeds) <= seeds[0]


def test_recorded_moments_come_back_as_they_were():
    found = of_seeds(EARLY, 400)
    np.testing.assert_array_equal(found.step, [100, 200, np.nan])
    np.testing.assert_array_equal(found.times.times, [100, 200, 400])
    assert (found.budget, found.runs) == (400, 3)


def test_maps_and_p_values_of_a_record():
    ratio, median = maps(RECORDED)
    (cells,) = ratio.maps
    assert cells.texts == (("0/3", "2/3"),)
    assert "400" in median.caption
    p = p_values(RECORDED)["32", "norm-softmax"]
    assert p == pytest.approx(0.4)  # two of three leap: as far apart in 8 of 20 relabellings
    assert shown(RECORDED).row_count == 1


def test_a_panel_is_recorded_written_and_read_again(monkeypatch, tmp_path, capsys):
    panel = Panel("Tiny", "rate", {"0.001": {}}, steps=2, seeds=2, methods=("softmax",))
    monkeypatch.setattr(search, "PANELS", {"tiny": panel})
    monkeypatch.setattr(search, "RECORD", tmp_path / "search.json")
    with pytest.raises(SaltusError, match="made by: python -m"):
        search.recorded()
    monkeypatch.setattr(search, "moments", lambda run: of_seeds(EARLY, 2))
    monkeypatch.setattr(search, "trained", lambda experiment, root: None)
    search.main(["--root", str(tmp_path), "--write"])
    assert "2/3" in capsys.readouterr().out
    assert json.loads((tmp_path / "search.json").read_text()) == search.recorded()
    assert search.recorded()["tiny"]["cells"] == {"0.001": {"softmax": EARLY}}


def test_methods_are_those_of_the_study():
    assert all(set(panel.methods) <= set(METHODS) for panel in PANELS.values())
