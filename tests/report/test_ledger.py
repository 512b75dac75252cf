"""Every kind of quantity in the ledger of the page, in the table of the terminal, and as JSON."""

import json
import re
from math import nan

import numpy as np
import pytest

from saltus.cli.output import plain
from saltus.cli.reproduce import measurement as row
from saltus.cli.reproduce import quantity_document
from saltus.report.ledger import legend, measurement, strip
from saltus.studies import Kind, Range, amount, every, exact, holds, median

ALL = {
    "mean": amount("x", [1.0, 1.1, 0.9], Range(0.0, 2.0)),
    "share": holds("x", [True] * 8),
    "median": median("x", [1.0, 1.1, 0.9, 1.0, 1.0, 1.0, 1.0], Range(0.0, 2.0)),
    "every": every("x", [1.0, 3.0, 1.5, nan], Range(0.0, 2.0)),
    "most": every("x", [1.0] * 19 + [3.0], Range(0.0, 2.0), 0.95),
    "exact": exact("x", 3.56472, Range(3.5637, 3.5657)),
}


def text_of(markup):
    return " ".join(re.sub("<[^>]+>", " ", markup).split())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("mean", "x 3 seeds 1 [0.7516, 1.248]"),
        ("share", "x 8 seeds 1 [0.6756, 1]"),
        ("median", "x 7 seeds median 1 [1, 1]"),
        ("every", "x 2 of 4 seeds inside, 1 without a value median 1.5 (1 to 3)"),
        ("most", "x 19 of 20 seeds inside (≥ 95 %) median 1 (1 to 3)"),
        ("exact", "x no seeds 3.56472"),
    ],
)
def test_the_page_shows_a_quantity_as_its_kind_wants_it(kind, text):
    assert text_of(measurement(ALL[kind])) == text


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("mean", ("- x", "1.00 [0.75, 1.25]", "3")),
        ("every", ("- x: 2 of 4 inside (accepted: 0 to 2)", "1.5 (1 to 3)", "3 of 4")),
        ("most", ("- x: 19 of 20 inside (>= 95 %)", "1 (1 to 3)", "20")),
        ("exact", ("- x", "3.56472", "-")),
    ],
)
def test_the_terminal_shows_the_same(kind, cells):
    assert row(ALL[kind]) == cells


def test_the_legend_explains_the_kinds_that_are_there_and_no_others():
    assert "Student" in legend([Kind.MEAN]) and "Wilson" not in legend([Kind.MEAN])
    assert "bootstrap" in legend([Kind.MEDIAN])
    assert "In brackets" not in legend([Kind.EXACT, Kind.EVERY])
    assert "one seed outside" in legend([Kind.EVERY]).lower()


def test_a_strip_has_a_tick_for_every_seed_that_counts_by_itself():
    found = str(strip(ALL["every"]))
    assert found.count('"tick"') == 2 and found.count("tick out") == 1 and "dot" not in found
    assert "interval" not in str(strip(ALL["exact"])) and "dot" in str(strip(ALL["exact"]))
    assert strip(exact("x", nan, Range(0.0, 1.0))) is None
    assert strip(amount("x", [1.0], Range(0.0, 1.0))) is None
    assert strip(every("x", [nan, nan], Range(0.0, 1.0))) is None


@pytest.mark.parametrize("kind", list(ALL))
def test_json_has_the_same_fields_for_every_kind(kind):
    quantity = ALL[kind]
    found = json.loads(json.dumps(plain(quantity_document(quantity)), allow_nan=False))
    assert list(found) == [
        "name", "kind", "estimate", "low", "high", "confidence", "share", "seeds", "with_value",
        "within", "accepted", "verdict", "values",
    ]  # fmt: skip
    assert found["kind"] == quantity.kind.value
    assert found["accepted"] == {
        "low": quantity.accepted.low,
        "high": None if np.isinf(quantity.accepted.high) else quantity.accepted.high,
        "open": False,
    }


def test_json_says_what_the_ends_are():
    mean, each, alone = (quantity_document(ALL[kind]) for kind in ("mean", "every", "exact"))
    assert mean["confidence"] == 0.95 and mean["share"] is None
    assert (each["low"], each["high"], each["confidence"]) == (1.0, 3.0, None)
    assert (each["seeds"], each["with_value"], each["within"]) == (4, 3, 2)
    assert each["share"]["required"] == 1.0
    assert each["share"]["low"] < each["share"]["estimate"] == 2 / 3 < each["share"]["high"]
    assert alone["seeds"] == 0 and plain(alone)["low"] is None and alone["share"] is None
