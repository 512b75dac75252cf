"""Publication files: the page's data, every suffix, nothing of the clock in them."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report import (
    gather,
    publication,
    style,
    write_figure,
    write_run_figures,
    write_study_figures,
)
from saltus.report.axes import value_axis, x_axes
from saltus.report.svg import readout
from saltus.studies.loss_plateau import STUDY


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


def test_composed_figures_are_drawn_on_the_same_axes(make_run, composed):
    for figure in composed({"baseline": make_run()}):
        drawing = publication.draw(figure)
        across = x_axes(figure.panels)
        for axes, panel, x in zip(drawing.axes, figure.panels, across, strict=True):
            assert axes.get_xlabel() == panel.x_label
            assert axes.get_xscale() == ("log" if panel.x_log else "linear")
            assert axes.get_yscale() == ("log" if panel.log else "linear")
            assert axes.get_xlim() == (x.low, x.high)
            lines = {line.get_label(): line for line in axes.get_lines()}
            for curve in panel.curves:
                np.testing.assert_allclose(lines[curve.label].get_ydata(), curve.fan.median)
                assert (lines[curve.label].get_marker() == "o") == curve.dots
            for each in panel.references:
                assert lines[each.label].get_color() == style.darker(each.color)
            texts = {text.get_text() for text in axes.texts}
            assert {mark.label for mark in panel.marks} <= texts
        own = [axes.get_legend() is not None for axes in drawing.axes]
        assert own == [not figure.one_legend] * len(own)


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_every_figure_of_a_study_is_a_file(make_run, composed, tmp_path, suffix):
    study, arms = replace(STUDY, figures=composed), {"baseline": make_run()}
    written = write_study_figures(study, arms, tmp_path / "figures", [suffix])
    names = [path.name for each in written for path in each.paths]
    assert names == [
        f"1-loss-by-class{suffix}",
        f"2-scores{suffix}",
        f"3-seeds-still-before-the-leap-of-the-training-loss{suffix}",
        f"4-headline-series{suffix}",
        f"5-attention-over-training{suffix}",
    ]
    assert all(path.stat().st_size > 1000 for each in written for path in each.paths)
    with pytest.raises(SaltusError, match="figures of loss-plateau: arm baseline was not run"):
        write_study_figures(study, {}, tmp_path)


def test_every_figure_of_a_run_is_a_file_in_every_format(make_run, tmp_path):
    written = write_run_figures(make_run(), tmp_path)
    assert [each.title for each in written] == [
        "Training loss",
        "Seeds still before the leap of the training loss",
        "Series",
        "Attention over training",
    ]
    assert {path.suffix for each in written for path in each.paths} == {".svg", ".pdf", ".png"}
    first = str(written[0])
    assert first.endswith("1-training-loss.svg, .pdf, .png: Training loss")


def test_names_that_cannot_be_drawn(make_run, tmp_path):
    run = make_run()
    with pytest.raises(SaltusError, match=r"no series nothing; there are: .*loss/train"):
        write_figure(run, ["nothing"], tmp_path / "a.svg")
    with pytest.raises(SaltusError, match=r"suffix '\.gif' is not allowed: \.svg, \.pdf, \.png"):
        write_figure(run, ["loss/train"], tmp_path / "a.gif")
    assert not list(tmp_path.glob("a.*"))
