"""Bad input costs one line, whatever the input holds."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from saltus.errors import FieldProblem, SaltusError, explain, unknown
from saltus.parts import Record


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


class Piece(Record):
    """Something small with a bound."""

    length: int = Field(default=1, ge=1)


class Whole(Record):
    """Records in every kind of place."""

    one: Piece = Piece()
    maybe: Piece | None = None
    several: tuple[Piece, ...] = ()
    named: dict[str, Piece] = Field(default_factory=dict)
    lists: dict[str, list[tuple[int, Annotated[int, Field(ge=0)]]]] = Field(default_factory=dict)
    either: Annotated[int, Field(ge=1)] | Literal["auto"] | Piece = 1
    mixed: tuple[Piece | int, ...] = ()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"one": {"length": 0}}, "one.length"),
        ({"maybe": {"length": 0}}, "maybe.length"),
        ({"several": [{}, {"length": 0}]}, "several.1.length"),
        ({"several": [{}, {"lenght": 1}]}, "several.1.lenght"),
        ({"several": 3}, "several"),
        ({"named": {"a": {"length": 0}}}, "named.a.length"),
        ({"lists": {"a": [[1, 2], [1, -1]]}}, "lists.a.1.1"),
        ({"either": 0}, "either"),
        ({"mixed": [3, {"length": 0}]}, "mixed.1.length"),
    ],
)
def test_a_problem_is_told_with_its_whole_path(given, path):
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(given)
    assert explain(caught.value, Whole).path == path


def test_a_wrong_name_in_a_list_of_records_is_told_those_of_the_record():
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"several": [{"lenght": 1}]})
    assert explain(caught.value, Whole).text == (
        "unknown field 'lenght'; did you mean 'length'? Allowed: length"
    )
