"""The page: one file, nothing from outside, all text escaped, every verdict accounted for."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report import write_report, write_run_report
from saltus.report.compose import figure, panel
from saltus.report.markup import VOID, tag
from saltus.report.save import save
from saltus.report.svg import draw

HOSTILE = "<script>alert('&\"')</script>"


class Checked(HTMLParser):
    """Parses a page, keeps elements and texts, and fails on tags that do not pair."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def data(self, kind):
        for number, (name, attributes) in enumerate(self.elements):
            if name == "script" and attributes.get("class") == kind:
                scripts = [text for where, text in self.texts if where == "script"]
                order = [n for n, (other, _) in enumerate(self.elements) if other == "script"]
                yield json.loads(scripts[order.index(number)])


@pytest.fixture
def page(make_report, tmp_path):
    path = write_report([make_report()], tmp_path / "deep" / "report.html")
    return Checked(path.read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_outside(page):
    for name, attributes in page.elements:
        assert name not in {"link", "img", "iframe", "object", "embed"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    source = " ".join(text for where, text in page.texts if where in {"style", "script"})
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", source)
    policies = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policies and policies[0].startswith("default-src 'none'")


def test_the_ledger_has_a_row_for_every_claim_and_verdict(page):
    rows = [a["class"] for name, a in page.elements if name == "tr" and "class" in a]
    assert rows[:5] == ["reproduced", "contradicted", "inconclusive", "inconclusive", "not-run"]
    text = " ".join(text for _, text in page.texts)
    for part in ("1 reproduced", "1 contradicted", "2 inconclusive", "1 not run",
                 "arm missing was not run", "no interval", "[0.7516, 1.248]"):  # fmt: skip
        assert part in text


def test_costs_and_how_to_run_it_again(page):
    text = " ".join(text for _, text in page.texts)
    for part in ("2 min 41 s", "25%", "8.0 s", "not run", "1 seed diverged",
                 "saltus reproduce a-study --scale quick", "kind: moving-window-sum"):  # fmt: skip
        assert part in text


def test_a_diverged_member_breaks_neither_paths_nor_data(page):
    paths = [a["d"] for name, a in page.elements if name == "path"]
    assert all(re.fullmatch(r"[MLHVCScslhvz0-9 .\-]+", path) for path in paths)
    (loss, *_) = page.data("readout")
    (curve,) = loss["panels"][0]["curves"]
    assert set(curve["seeds"]) == {3, 4} and None not in curve["median"]


def test_the_maps_travel_in_the_page(page):
    (found,) = page.data("film")
    assert [take["name"] for take in found["takes"]] == ["mean over seeds", "seed 0"]
    for take in found["takes"]:
        assert take["steps"] == [0, 20, 40, 60]
        assert take["along"] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-4)
        (maps,) = take["tracks"]
        assert maps["shape"] == [2, 6, 6] and len(base64.b64decode(maps["codes"])) == 4 * 2 * 36
    assert len([1 for name, _ in page.elements if name == "canvas"]) == 2


def test_every_figure_has_a_caption_with_its_seeds(page):
    figures = [a for name, a in page.elements if name == "figure"]
    captions = [text for where, text in page.texts if where == "figcaption"]
    assert len(figures) == len(captions) == 4
    assert all("4 seeds" in text for text in captions)


@pytest.fixture
def drawn(make_report, composed, tmp_path):
    report = make_report()
    report = replace(report, study=replace(report.study, figures=composed, headline=()))
    return Checked(write_report([report], tmp_path / "r.html").read_text(encoding="utf-8"))


def test_composed_figures_take_the_place_of_the_automatic_ones(drawn):
    headings = [text for where, text in drawn.texts if where in {"h3", "h4"}]
    assert headings[:4] == ["The ledger", "The paper's figures", "Loss, by class", "Scores"]
    assert headings[4:6] == ["When it leaps", "Attention over training"]
    captions = [text for where, text in drawn.texts if where == "figcaption"]
    assert len(captions) == 4 and all("6 seeds" in text for text in captions[:2])


def test_composed_figures_name_axes_events_levels_and_dashed_lines(drawn):
    text = " ".join(text for _, text in drawn.texts)
    for part in ("time τ", "step size η", "all right: ", "T₁: ", "5 of 6 seeds", "R* 0.5",
                 "limit", "slope 1", "M[1,2]", "nats"):  # fmt: skip
        assert part in text
    assert "training step" not in text.partition("When it leaps")[0].partition("Scores")[2]
    kinds = [a.get("class") for name, a in drawn.elements if name == "path"]
    for kind in ("dots", "dots few", "reference k0", "reference ink", "leap", "rug", "level"):
        assert kind in kinds
    legends = [a for name, a in drawn.elements if name == "ul" and a.get("class") == "legend"]
    assert len(legends) == 3  # one above the first figure, one in each panel of the second


def test_the_readout_knows_the_axis_of_every_panel(drawn):
    first, second, leaps = drawn.data("readout")
    (losses,) = first["panels"]
    assert (losses["name"], losses["log"]) == ("time τ", True)
    assert (losses["low"], losses["high"]) == pytest.approx((0.1, 1000))
    assert [each["color"] for each in losses["curves"]] == ["k0", "k1", "k2", "k3", "k6"]
    assert [panel["name"] for panel in second["panels"]] == ["time τ", "step size η"]
    (survival,) = leaps["panels"]
    assert (survival["name"], len(survival["stairs"][0]["times"])) == ("step", 4)
    paths = [a["d"] for name, a in drawn.elements if name == "path"]
    assert all(re.fullmatch(r"[MLHVCScslhvz0-9 .\-]+", path) for path in paths)


@pytest.mark.parametrize("missing", [None, "series"])
def test_a_figure_that_cannot_be_drawn_is_named_and_costs_no_other(
    make_report, composed, tmp_path, missing
):
    def figures(arms):
        yield from composed(arms)
        yield arms["missing"] if missing is None else arms["baseline"].series(missing)

    report = make_report()
    report = replace(report, study=replace(report.study, figures=figures))
    text = write_report([report], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Loss, by class" in text and "Scores" in text
    reason = "arm missing was not run" if missing is None else "series"
    assert re.search(rf"Not drawn: [^<]*{reason}", text)


def test_all_text_is_escaped(make_report, tmp_path):
    path = write_report([make_report(words=HOSTILE, arm=HOSTILE)], tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert sum(HOSTILE in text for _, text in Checked(text).texts) > 10


def test_markup_escapes_text_and_attributes():
    assert tag("a", "<b>", tag("br"), 3, None, href='"x"', hidden=True, id=None) == (
        '<a href="&quot;x&quot;" hidden>&lt;b&gt;<br>3</a>'
    )


def test_long_numbers_have_room_beside_the_axis():
    steps = np.arange(5)
    for scale, least in ((1.0, 38), (-2.5e-4, 55)):
        made = draw(figure("f", [panel("p", [("a", steps, scale * np.ones((2, 5)) * steps)])]))
        left = re.search(r"--left:(\d+)px", made)
        assert (int(left[1]) if left else 38) >= least
        assert bool(left) == (least > 38)


def test_any_run_has_a_page(make_run, tmp_path):
    path = write_run_report(make_run("alone", broken=(0, 2)), tmp_path / "run.html")
    text = " ".join(text for _, text in Checked(path.read_text()).texts)
    assert "2 of 4 in alone" in text and "evaluation/accuracy" in text


def test_several_studies_share_a_page(make_report, tmp_path):
    path = write_report([make_report(), make_report()], tmp_path / "r.html")
    page = Checked(path.read_text())
    assert [a["href"] for name, a in page.elements if name == "a"] == ["#a-study", "#a-study"]


def test_a_study_without_runs_still_has_its_ledger(make_report, tmp_path):
    empty = replace(make_report(), arms={})
    text = write_report([empty], tmp_path / "r.html").read_text()
    assert Checked(text) and "not run" in text


def test_a_failed_write_leaves_the_old_file(make_run, tmp_path, monkeypatch):
    run, path = make_run(), tmp_path / "r.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saltus.runs.files.write_all", full)
    with pytest.raises(SaltusError, match=r"cannot write .*r\.html: no space left on device"):
        write_run_report(run, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["r.html"]
    with pytest.raises(SaltusError, match="cannot write"):
        save(path / "below", b"")
