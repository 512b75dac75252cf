"""A remedy is one option of the command line, on any experiment."""

from __future__ import annotations

import pytest

from saltus.experiment import Experiment

MATRIX = """\
name: matrix
task: {kind: matrix-completion, rows: 3, columns: 3, rank: 1}
model: {kind: encoder, width: 16, heads: 2, depth: 1}
optimizer: {kind: adam, learning_rate: 1e-3}
steps: 2
batch: 4
seeds: 2
engine: {workers: 1}
"""
OPTIONS = {
    "model.attention=norm-softmax": {"kind": "norm-softmax", "statistic": "variance"},
    "model.attention={kind: norm-softmax, statistic: deviation}": {
        "kind": "norm-softmax",
        "statistic": "deviation",
    },
    "model.attention=qk-norm": {"kind": "qk-norm"},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_puts_a_normaliser_into_a_run(saltus, tmp_path, option):
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    said = saltus("run", "matrix.yaml", "--set", option, "--json")
    assert said.code == 0, said.err
    text = (tmp_path / "runs" / "matrix" / "experiment.yaml").read_text()
    assert Experiment.from_yaml(text).data()["model"]["attention"] == OPTIONS[option]


def test_so_does_it_for_heat_treatment(saltus, tmp_path):
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    heat = "interventions=[{kind: heat-treatment}]"
    assert saltus("run", "matrix.yaml", "--set", heat).code == 0
    text = (tmp_path / "runs" / "matrix" / "experiment.yaml").read_text()
    assert [part.kind for part in Experiment.from_yaml(text).interventions] == ["heat-treatment"]


def test_an_unknown_normaliser_is_one_line(saltus, tmp_path):
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    said = saltus("run", "matrix.yaml", "--set", "model.attention=norm-softmx")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "saltus: experiment: model.attention.kind: unknown normaliser 'norm-softmx'; did you mean "
        "'norm-softmax'? Allowed: learned-temperature, linear, norm-softmax, qk-norm, saturated, "
        "softmax\n"
    )
