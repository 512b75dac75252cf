"""YAML 1.1 reads 1e-4 as text; in a grid it is a number all the same."""

from saltus.experiment import Experiment

TEXT = """
task: moving-window-sum
model: {kind: decoder, width: 8}
optimizer: {kind: adam, learning_rate: 1e-3}
vary: {optimizer.learning_rate: [1e-4, 2.5E-3]}
steps: 1
batch: 2
"""


def test_members_of_a_grid_have_numbers_for_overrides() -> None:
    members = Experiment.from_yaml(TEXT).members()
    assert [m.overrides for m in members] == [
        {"optimizer.learning_rate": 1e-4},
        {"optimizer.learning_rate": 2.5e-3},
    ]
