"""Publication files: the page's data, every suffix, nothing of the clock in them."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report import gather, publication, write_figure
from saltus.report.axes import value_axis, x_axes
from saltus.report.svg import readout


def test_both_drawings_show_the_same_data(make_run):
    arms = {"a": make_run(), "b": make_run(leap=20)}
    figure = gather.series_figure(arms, ["loss/train", "evaluation/accuracy"], "t")
    page = readout(figure, x_axes(figure.panels))
    drawing = publication.draw(figure)
    for axes, curves, panel in zip(drawing.axes, page["panels"], figure.panels, strict=True):
        medians = {line.get_label(): line for line in axes.get_lines()}
        for curve in curves["curves"]:
            line = medians[curve["label"]]
            assert line.get_xdata().tolist() == curve["x"]
            np.testing.assert_allclose(line.get_ydata(), curve["median"], rtol=1e-3)
        limits = value_axis([panel])
        assert axes.get_ylim() == (limits.low, limits.high)
        assert axes.get_title(loc="left") == panel.title


def test_a_diverged_member_is_drawn(make_run, tmp_path):
    arms = {"a": make_run(broken=(0,)), "b": make_run(seeds=1)}
    path = write_figure(arms, ["loss/train"], tmp_path / "loss.svg")
    text = "".join(ElementTree.parse(path).getroot().itertext())
    assert "1 of 4 in a" in " ".join(text.split()) and "plateau 2.628" in text


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_file_of_each_kind_is_repeatable(make_run, tmp_path, suffix):
    run = make_run()
    first = write_figure(run, ["loss/train"], tmp_path / f"one.{suffix}").read_bytes()
    assert first == write_figure(run, ["loss/train"], tmp_path / f"two.{suffix}").read_bytes()
    assert first[:4] in (b"<?xm", b"%PDF", b"\x89PNG")


def test_names_that_cannot_be_drawn(make_run, tmp_path):
    run = make_run()
    with pytest.raises(SaltusError, match=r"no series nothing; there are: .*loss/train"):
        write_figure(run, ["nothing"], tmp_path / "a.svg")
    with pytest.raises(SaltusError, match=r"suffix '\.gif' is not allowed: \.svg, \.pdf, \.png"):
        write_figure(run, ["loss/train"], tmp_path / "a.gif")
    assert not list(tmp_path.glob("a.*"))
