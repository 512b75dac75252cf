"""A Part is a frozen record that is found by its kind and says what is wrong in one line."""

from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError

from saltus.errors import FieldProblem, explain
from saltus.parts import Part, Record


class Animal(Part):
    """A family."""


class Inner(Record):
    legs: int = Field(default=4, ge=0)
    size: int | Literal["large"] = "large"


class Dog(Animal):
    kind: Literal["dog"] = "dog"
    age: int = Field(default=1, ge=0)
    inner: Inner = Inner()


class Cat(Animal):
    kind: Literal["cat"] = "cat"
    lives: float = 9.0


class House(Record):
    pet: Annotated[SerializeAsAny[Animal], BeforeValidator(Animal.parse)]
    rooms: dict[str, int] = Field(default_factory=dict)


def test_a_family_knows_its_members_by_kind_and_nothing_of_other_families():
    assert Animal.registry == {"dog": Dog, "cat": Cat}
    assert Animal.family == "animal"


@pytest.mark.parametrize(
    "value", [Dog(), "dog", {"kind": "dog"}, {"kind": "dog", "age": 1}, Dog().model_dump()]
)
def test_a_part_is_read_from_itself_its_kind_or_a_mapping(value):
    assert Animal.parse(value) == Dog()


def test_the_subclass_survives_being_written_and_read():
    house = House(pet=Cat(lives=7))
    assert house.model_dump()["pet"] == {"kind": "cat", "lives": 7.0}
    assert House.model_validate(house.model_dump()) == house


def test_a_part_is_frozen_and_hashable():
    dog = Dog()
    with pytest.raises(ValidationError, match="frozen"):
        dog.age = 3
    assert len({Dog(), Dog(), Dog(age=2)}) == 2


def test_a_member_of_one_family_is_not_read_as_its_sibling():
    with pytest.raises(FieldProblem, match=r"kind: unknown animal 'cat'\. Allowed: dog$"):
        Dog.parse("cat")


@pytest.mark.parametrize(
    ("pet", "message"),
    [
        (3, "pet: 3 is no animal; give a kind or a mapping"),
        ({"age": 3}, "pet.kind: required. Allowed: cat, dog"),
        ("bird", "pet.kind: unknown animal 'bird'. Allowed: cat, dog"),
        ("dig", "pet.kind: unknown animal 'dig'; did you mean 'dog'? Allowed: cat, dog"),
        ({"kind": "dog", "agee": 3}, "pet.agee: unknown field 'agee'; did you mean 'age'? "
         "Allowed: age, inner, kind"),
        ({"kind": "dog", "age": -3},
         "pet.age: -3 is not allowed: input should be greater than or equal to 0"),
        ({"kind": "cat", "lives": float("inf")},
         "pet.lives: inf is not allowed: input should be a finite number"),
        ({"kind": "dog", "inner": {"lgs": 3}},
         "pet.inner.lgs: unknown field 'lgs'; did you mean 'legs'? Allowed: legs, size"),
        ({"kind": "dog", "inner": {"size": "small"}},
         "pet.inner.size: 'small' is not allowed: input should be a valid integer, "
         "unable to parse string as an integer or 'large'"),
    ],
)  # fmt: skip
def test_a_problem_names_the_field_the_value_and_what_is_allowed(pet, message):
    with pytest.raises(ValidationError) as caught:
        House.model_validate({"pet": pet})
    assert str(explain(caught.value, House)) == message


def test_a_key_of_a_mapping_stays_in_the_path():
    with pytest.raises(ValidationError) as caught:
        House.model_validate({"pet": "dog", "rooms": {"hall": "wide"}})
    assert explain(caught.value, House).path == "rooms.hall"


def test_a_long_value_is_cut():
    with pytest.raises(ValidationError) as caught:
        House.model_validate({"pet": {"kind": "dog"}, "rooms": list(range(1000))})
    assert len(str(explain(caught.value, House))) < 140
