"""Tables of any numbers: what the page, the paper and the text forms say is the same."""

import csv
import re
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.report import publication
from saltus.report.files import write_figures
from saltus.report.kinds import draw_any
from saltus.report.tables import Cell, Row, Table, interval_cell, write_table
from saltus.report.tables.paper import draw_table
from saltus.transitions import Interval

MEAN = Interval(2633.3, 1100.0, 4000.0, 3)
MADE = Table(
    "Times", ("Mean", "Runs"),
    (Row("softmax", (interval_cell(MEAN), Cell("8", "", 8.0)), 0),
     Row("a | b", (interval_cell(Interval(nan, -inf, inf, 0)), Cell("8", "3 with one")), 1)),
    "What it says.", "arm",
)  # fmt: skip


def test_an_interval_says_what_is_known():
    def both(*ends, beyond=None):
        cell = interval_cell(Interval(*ends, 8), beyond)
        return cell.text, cell.below

    assert both(2450.0, 900.0, 4000.0) == ("2,450", "[900, 4,000]")
    assert both(0.62, 0.31, 0.86) == ("0.62", "[0.31, 0.86]")
    assert both(inf, 1100.0, inf, beyond=6000.0) == ("> 6,000", "not before 1,100")
    assert both(inf, inf, inf, beyond=6000.0) == ("> 6,000", "beyond the budget")
    assert both(inf, 1100.0, inf) == ("∞", "not before 1,100")
    assert both(5.0, -inf, inf) == both(5.0, 0.0, inf) == ("5", "no interval")
    assert both(nan, -inf, inf) == ("–", "")


def test_every_form_has_the_same_cells(tmp_path):
    page = draw_any(MADE)
    assert re.findall(r"<b>([^<]*)</b>", page) == ["2,633", "8", "–", "8"]
    assert "<small>[1,100, 4,000]</small>" in page and "a | b" in page and "What it says." in page
    said = {text.get_text() for text in draw_table(MADE).axes[0].texts}
    assert {"softmax", "a | b", "2,633", "[1,100, 4,000]", "3 with one", "Mean"} <= said
    lines = write_table(MADE, tmp_path / "t.md").read_text("utf-8").splitlines()
    assert lines[0] == "**Times**" and lines[2] == "| arm | Mean | Runs |"
    assert lines[4] == "| softmax | 2,633 [1,100, 4,000] | 8 |"
    assert lines[5] == "| a \\| b | – | 8 (3 with one) |"
    text = write_table(MADE, tmp_path / "t.csv").read_text("utf-8")
    rows = list(csv.reader(text.splitlines()))
    names = ["Mean: estimate", "Mean: low", "Mean: high", "Mean: count"]
    assert rows[0] == ["arm", *names, "Runs"]
    assert rows[1] == ["softmax", "2633.3", "1100.0", "4000.0", "3", "8.0"]
    assert rows[2] == ["a | b", "nan", "-inf", "inf", "0", "8"]


def test_a_table_is_a_figure_like_others(tmp_path):
    files = write_figures([MADE], tmp_path, (".svg", ".pdf", ".png"))
    assert [path.name for path in files[0].paths] == ["1-times.svg", "1-times.pdf", "1-times.png"]
    assert b"softmax" in files[0].paths[0].read_bytes()
    assert publication.render(MADE, ".svg") == publication.render(MADE, ".svg")


def test_bad_tables_get_one_line(tmp_path):
    with pytest.raises(SaltusError, match="row 'a' has 1 cells, there are 2 columns"):
        Table("t", ("x", "y"), (Row("a", (Cell("1"),)),), "")
    with pytest.raises(SaltusError, match=r"suffix '.txt' is not allowed: .md, .csv"):
        write_table(MADE, tmp_path / "t.txt")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=4))
def test_any_words_are_drawn(words):
    made = Table("t", ("x",), tuple(Row(a, (Cell(b, a),)) for a, b in words), "")
    page = draw_any(made)
    assert set(re.findall(r"<([a-z]+)", page)) <= {
        "figure", "div", "table", "thead", "tbody", "tr", "th", "td", "span", "b", "small",
        "figcaption",
    }  # fmt: skip
    assert draw_table(made)
