"""Titles as parts of file names."""

import pytest

from saltus.report.text import slug


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Loss, by class (SA)", "loss-by-class-sa"),
        ("Seeds before T₁", "seeds-before-t1"),
        ("Café: ½ of σ²", "cafe-1-2-of-σ2"),
        ("?!", "figure"),
    ],
    ids=["words", "subscript", "accent", "nothing"],
)
def test_a_title_is_a_name_without_signs(title, name):
    assert slug(title) == name
