"""Bad input costs one line, whatever the input holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import FieldProblem, SaltusError, unknown


@given(st.text())
def test_a_message_is_one_line_whatever_it_quotes(text):
    assert len(f"{SaltusError('name: ' + text)}".splitlines()) == 1


def test_a_line_break_in_a_name_is_shown_and_not_obeyed():
    assert str(SaltusError("a\nb\r\nc")) == r"a\nb\nc"


@pytest.mark.parametrize(
    ("name", "allowed", "message"),
    [
        (
            "widht",
            ["width", "heads", "depth"],
            "unknown field 'widht'; did you mean 'width'? Allowed: depth, heads, width",
        ),
        ("zzz", ["width", "depth"], "unknown field 'zzz'. Allowed: depth, width"),
        ("zzz", [], "unknown field 'zzz'. Allowed: none"),
    ],
)
def test_an_unknown_name_is_told_the_near_one_and_all_allowed(name, allowed, message):
    assert unknown("field", name, allowed) == message


def test_a_problem_keeps_its_path_and_its_text_apart():
    problem = FieldProblem("model.depth", "too small")
    assert (problem.path, problem.text, str(problem)) == (
        "model.depth",
        "too small",
        "model.depth: too small",
    )
    assert str(FieldProblem("", "too small")) == "too small"
