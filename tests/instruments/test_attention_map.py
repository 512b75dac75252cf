"""Single-sample maps, and maps under another task's mask."""

import torch

import saltus
from analysed import One
from saltus.instruments.attention_map import AttentionMap
from saltus.models import Tape
from saltus.tasks.matrix_completion import MatrixCompletion

SITE = "blocks.1.attention.pattern"


def read(one, **fields):
    return saltus.read(one.module, [AttentionMap(**fields)], one.task, one.batch)


def test_single_maps_are_the_samples_own_and_the_mask_stands_beside_them():
    one, tape = One("completing"), Tape([SITE])
    one.module(one.batch["inputs"], tape)
    found = read(one, samples=2)
    assert found["attention-map/blocks.1.samples"].equal(tape.values[SITE][:2])
    torch.testing.assert_close(found["attention-map/blocks.1"], tape.values[SITE].mean(0))
    assert found["attention-map/observed"].equal(one.batch["observed"][:2].float())


def test_by_default_there_is_the_mean_alone():
    assert read(One("completing")).keys() == {"attention-map/blocks.0", "attention-map/blocks.1"}


def test_a_task_without_a_mask_has_maps_alone():
    found = read(One("adding"), samples=3, label="few")
    assert found["few/blocks.0.samples"].shape[:2] == (3, 2)
    assert "few/observed" not in found


def test_structured_masks_come_from_another_task():
    task = MatrixCompletion(rows=4, columns=3, rank=1, decimals=1)
    structured = MatrixCompletion.model_validate(
        {**task.model_dump(), "hidden_rows": [1, 3], "shown": [[1, 0]]}
    )
    instrument = AttentionMap(task=structured, samples=1, batch=256, label="rows-hidden")
    needs = instrument.needs(task)
    assert needs.task == structured and needs.samples == 256
