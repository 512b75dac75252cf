"""Component switching: identities of switching nothing and everything, and what the names move."""

import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments import Instrument
from saltus.instruments.component_switching import ComponentSwitching, default_switches
from saltus.models import group_of
from saltus.training.readings import measure
from tiny_checkpoints import DIGITS, MATRICES, alone, found, same_bits, trained

PART = {"kind": "component-switching", "samples": 32}
both = pytest.mark.parametrize("where", [DIGITS, MATRICES], ids=["digits", "matrices"])


def scores(results, switch):
    prefix = f"component-switching/{switch}/"
    return {n.removeprefix(prefix): v for n, v in results.items() if n.startswith(prefix)}


@both
def test_switching_everything_is_the_donor_and_nothing_the_model_itself(where):
    ours, donor = trained([PART], 2, where=where), trained([], 5, where=where)
    there = trained([PART], 5, where=where)
    results = found(ours, donor=donor)
    own = found(there, donor=donor)  # of the donor, on the same samples
    assert same_bits(scores(results, "donor"), scores(own, "intact"))
    assert not same_bits(scores(results, "donor"), scores(results, "intact"))
    assert same_bits(scores(own, "donor"), scores(own, "intact"))


@both
def test_all_groups_switched_one_after_the_other_are_everything(where):
    ours, donor = trained([], 2, where=where), trained([], 5, where=where)
    groups = tuple(dict.fromkeys(map(group_of, ours.parameters)))
    each = ComponentSwitching(samples=32, switches={"all-groups": groups, "by-name": ("*",)})
    results = measure(ours, [each], 2, donor.parameters)
    whole = scores(results, "donor")
    assert same_bits(scores(results, "all-groups"), whole)
    assert same_bits(scores(results, "by-name"), whole)


@both
def test_a_switch_and_its_complement_are_each_other_with_the_checkpoints_exchanged(where):
    switches = {"a": ["attention"], "rest": ["!attention"]}
    part = {**PART, "switches": switches}
    early, late = trained([part], 2, where=where), trained([part], 5, where=where)
    there, back = found(early, donor=late), found(late, donor=early)
    assert same_bits(scores(there, "a"), scores(back, "rest"))
    assert same_bits(scores(there, "rest"), scores(back, "a"))


@both
def test_the_numbers_are_those_of_a_module_with_the_parameters_written_in(where):
    ours, donor = trained([PART], 2, where=where), trained([], 5, where=where)
    results = found(ours, donor=donor)
    taken = [n for n in ours.parameters if ".query." in n or ".key." in n or ".value." in n]
    with torch.no_grad():
        for name in taken:
            ours.parameters[name].copy_(donor.parameters[name])
    mixed = found(ours, donor=donor)
    assert same_bits(scores(results, "attention-qkv"), scores(mixed, "intact"))


def test_the_papers_two_leave_the_output_projection_and_the_attention_norm_where_they_are():
    names = list(trained([], 0, where=MATRICES).parameters)
    part = ComponentSwitching()
    switched = part._switched(dict.fromkeys(names, torch.zeros(1)))
    neither = set(names) - set(switched["attention-qkv"]) - set(switched["the-rest"])
    assert {group_of(name) for name in neither} == {"attention.output", "norm.attention"}
    rest = {group_of(name) for name in switched["the-rest"]}
    assert rest >= {"embeddings.token", "embeddings.position", "mlp", "norm.mlp", "readout"}
    assert not set(switched["attention-qkv"]) & set(switched["the-rest"])
    assert {*default_switches(names)} >= {"attention-qkv", "the-rest", *map(group_of, names)}


def test_a_model_without_attention_still_has_a_switch_for_each_group():
    assert default_switches(["mlp.input.weight", "readout.weight", "gate"]) == {
        "other": ("other",),
        "readout": ("readout",),
    }


@both
def test_a_single_model_gives_the_same_numbers(where):
    ours, donor = trained([PART], 2, where=where), trained([], 5, where=where)
    together = found(ours, donor=donor)
    for row in range(3):
        one = alone(ComponentSwitching(samples=32), ours, row, donor=donor)
        assert one.keys() == together.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, together[name][row], rtol=1e-5, atol=1e-6)


def test_a_member_is_the_same_to_the_last_bit_in_any_company():
    together = found(trained([PART], 2), donor=trained([], 5))
    for seed in range(3):
        single = found(trained([PART], 2, seeds=[seed]), donor=trained([], 5, seeds=[seed]))
        row = {name: value[seed : seed + 1] for name, value in together.items()}
        assert same_bits(single, row)


def test_without_a_donor_one_line_says_what_is_missing():
    with pytest.raises(SaltusError) as caught:
        found(trained([PART], 0), 0)
    assert "component-switching mixes two checkpoints" in str(caught.value)


def test_a_group_that_the_model_lacks_is_named_with_its_switch():
    part = {"kind": "component-switching", "switches": {"both": ["mlp", "attention.kq"]}}
    with pytest.raises(SaltusError) as caught:
        found(trained([part], 0), 0, donor=trained([], 1))
    text = str(caught.value)
    assert text.startswith("component-switching.switches.both: parameters: unknown group")
    assert "did you mean 'attention.qk'" in text


@pytest.mark.parametrize(
    ("switches", "word"),
    [
        ({}, "at least 1"),
        ({"intact": ["mlp"]}, "'intact' is not allowed as a name"),
        ({"a/b": ["mlp"]}, "'a/b' is not allowed as a name"),
        ({"a": []}, "'a' names no group"),
    ],
)
def test_switches_that_make_no_sense_are_refused(switches, word):
    with pytest.raises(ValueError, match=r"^switches: ") as caught:
        Instrument.parse({"kind": "component-switching", "switches": switches})
    assert word in str(caught.value)


def test_it_is_data():
    part = ComponentSwitching(switches={"a": ("attention", "!attention.output")})
    assert Instrument.parse(part.model_dump()) == part
