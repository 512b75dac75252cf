"""The leap, frame by frame: from the frames of single seeds to a film on one scale."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.instruments.attention_map import AttentionMap
from saltus.report import leap_film as module
from saltus.report.films import Cloud, Maps
from saltus.report.leap_film import MOST, TITLE, along_the_last, leap_film, try_leap_film
from saltus.report.parts import leap_film_part
from saltus.runs import Run
from saltus.training.film import film as developed
from saltus.training.launch import start
from training.leaping import leaping

FRAMES = {1: list(range(20, 45)), 3: list(range(25, 50))}
CELLS = {
    "task": {"kind": "matrix-completion", "rows": 3, "columns": 3, "rank": 1},
    "model": {"kind": "encoder", "depth": 1, "heads": 2, "width": 8},
    "instruments": [],
}


@pytest.fixture
def framed(make_run, monkeypatch):
    """framed(changes) → a run of four seeds, of which two have frames of growing embeddings."""

    def make(changes=None):
        run = make_run("a", changes=changes)
        generator = np.random.default_rng(0)
        table = {"token.weight": generator.normal(size=(5000, 8)).astype(np.float32),
                 "position.weight": generator.normal(size=(128, 8)).astype(np.float32)}  # fmt: skip
        monkeypatch.setattr(Run, "frames", lambda _, member: FRAMES.get(member, []))
        monkeypatch.setattr(
            Run, "frame", lambda _, member, step: {n: step * t for n, t in table.items()}
        )
        return run

    return make


def develop(run, member, instruments, steps):
    """Maps that say which member and step they are of."""
    assert [each.kind for each in instruments] == ["attention-map"]
    values = (
        np.array(steps, dtype=float)[:, None, None, None] * np.ones((1, 2, 4, 4)) + 100 * member
    )
    return {"attention-map/blocks.0": (np.array(steps), values)}


def test_a_film_has_a_take_for_each_seed_with_frames(framed):
    made = leap_film(framed(), develop)
    assert [each.name for each in made.takes] == ["seed 1", "seed 3"]
    for member, each in zip(FRAMES, made.takes, strict=True):
        assert list(each.steps) == FRAMES[member]
        maps = next(track for track in each.tracks if isinstance(track, Maps))
        assert maps.values[:, 0, 0, 0].tolist() == [step + 100 * member for step in each.steps]
        assert each.loss.curves[0].label == each.name
        x = each.loss.curves[0].fan.x
        assert (x[0], x[-1]) == (FRAMES[member][0] - 6, min(FRAMES[member][-1] + 6, 60))
    assert made.title == TITLE and "kept frames of 2 of 4 seeds" in made.caption


def test_values_and_columns_colour_the_embeddings(framed):
    tokens, cells = (
        track for track in leap_film(framed(CELLS), develop).takes[0].tracks
        if isinstance(track, Cloud)
    )  # fmt: skip
    values = tokens.frames.panels[0].values
    assert tokens.frames.diverging and values.min() == -values.max()
    assert tokens.frames.panels[0].names[0] == f"token of {values[0]:g}"
    assert list(cells.frames.legend) == ["column 0", "column 1", "column 2"]
    assert len(cells.frames.panels[0].points) == 9
    # embeddings that only grow keep their directions
    first, last = (tokens.frames.panels[place].points for place in (0, -1))
    np.testing.assert_allclose(first / FRAMES[1][0], last / FRAMES[1][-1], rtol=1e-4, atol=1e-6)


def test_directions_are_those_of_the_last_frame():
    import torch

    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(6, 3, dtype=torch.float64, generator=generator) for _ in range(3)]
    found = along_the_last(rows, [])
    left, size, right = np.linalg.svd((rows[-1] - rows[-1].mean(0)).numpy(), full_matrices=False)
    np.testing.assert_allclose(np.abs(found[-1]), np.abs(left * size)[:, :2], atol=1e-12)
    assert (np.abs(found[-1]).max(0) == found[-1].max(0)).all()  # the largest is positive
    expected = (rows[0] - rows[0].mean(0)).numpy() @ right[:2].T
    np.testing.assert_allclose(np.abs(found[0]), np.abs(expected), atol=1e-12)


def test_many_frames_are_thinned_and_many_values_leave_out_seeds(framed, monkeypatch):
    monkeypatch.setitem(FRAMES, 1, list(range(0, 400, 4)))
    made = leap_film(framed(), develop)
    assert len(made.takes[0].steps) == MOST
    assert made.takes[0].steps[0] == 0 and made.takes[0].steps[-1] == 396
    assert f"At most {MOST} of up to 100 frames, evenly spread." in made.caption
    less = leap_film(framed(), develop, budget=1)
    assert [each.name for each in less.takes] == ["seed 1"]
    assert "shown: the first that fit into a page" in less.caption


def test_a_run_without_frames_has_no_film(make_run):
    run = make_run()
    assert leap_film(run) is None and try_leap_film(run) == (None, "")
    assert not any(leap_film_part({"a": run}).content)


def test_a_real_leap_is_developed_from_its_frames(tmp_path):
    run = start(leaping(checkpoints={"microscope": {"frames": 16}}, seeds=[0]), tmp_path)
    made = leap_film(run)
    (each,) = made.takes
    assert set(each.steps) <= set(run.frames(0)) and len(each.steps) >= 20
    maps, tokens = each.tracks
    at, values = developed(run, 0, [AttentionMap()], list(each.steps))["attention-map/blocks.0"]
    assert at.tolist() == list(each.steps)
    np.testing.assert_array_equal(maps.values, values)
    rows = run.frame(0, each.steps[-1])["token.weight"].astype(float)
    got = tokens.frames.panels[-1].points
    rows = rows[: len(got)]  # the last token stands for no value
    left, size, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(got), np.abs(left * size)[:, :2], atol=1e-6)


def test_a_damaged_frame_is_told(framed, monkeypatch):
    def broken(*_, budget):
        raise SaltusError("step-3.safetensors is not what was written")

    run = framed()
    monkeypatch.setattr(module, "leap_film", broken)
    part = leap_film_part({"a": run})
    assert part.missing == "a: step-3.safetensors is not what was written" and not part.figures
    assert any("Not drawn: a: step-3" in str(each) for each in part.content)
