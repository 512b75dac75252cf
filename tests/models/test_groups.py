"""Named parameter groups: one vocabulary, and one line for a name that is not in it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from saltus.errors import SaltusError
from saltus.interventions.freeze import Freeze
from saltus.interventions.transplant import Transplant
from saltus.models import Interface, group_of, select
from saltus.models.transformer import Decoder

NAMES = [name for name, _ in Decoder(depth=2, width=4).build(Interface(3, 3, 3)).named_parameters()]
GROUPS = {
    "token.weight": "embeddings.token",
    "position.weight": "embeddings.position",
    "blocks.0.attention_norm.weight": "norm.attention",
    "blocks.1.attention_norm.bias": "norm.attention",
    "blocks.0.mlp_norm.bias": "norm.mlp",
    "final_norm.weight": "norm.final",
    "blocks.0.attention.query.weight": "attention.qk",
    "blocks.1.attention.key.bias": "attention.qk",
    "blocks.0.attention.value.weight": "attention.value",
    "blocks.1.attention.output.bias": "attention.output",
    "blocks.0.mlp.input.weight": "mlp",
    "blocks.1.mlp.output.bias": "mlp",
    "readout.weight": "readout",
    "something.else": "other",
}


@pytest.mark.parametrize(("name", "group"), GROUPS.items())
def test_a_parameter_has_its_group(name, group):
    assert group_of(name) == group


def test_every_parameter_of_the_decoder_has_a_group():
    assert {group_of(name) for name in NAMES} == set(GROUPS.values()) - {"other"}


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["attention.qk"], lambda n: ".query." in n or ".key." in n),
        (["attention"], lambda n: ".attention." in n),
        (["norm"], lambda n: "norm" in n),
        (["embeddings", "readout"], lambda n: n.startswith(("token", "position", "readout"))),
        (["blocks.1.*"], lambda n: n.startswith("blocks.1.")),
        (["*.bias", "mlp"], lambda n: n.endswith("bias") or ".mlp." in n),
        (["*"], lambda n: True),
        ([], lambda n: False),
        (["!attention"], lambda n: ".attention." not in n),
        (["!*attention*"], lambda n: "attention" not in n),
        (["attention", "!attention.output"], lambda n: group_of(n).endswith(("qk", "value"))),
        (["!attention.output", "attention"], lambda n: group_of(n).endswith(("qk", "value"))),
        (["!attention", "!norm"], lambda n: not group_of(n).startswith(("attention", "norm"))),
        (["mlp", "readout", "!*.bias"], lambda n: group_of(n) in ("mlp", "readout") and "w" in n),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "chosen",
)
def test_patterns_select_groups_heads_of_groups_and_names(patterns, chosen):
    assert select(NAMES, patterns) == [name for name in NAMES if chosen(name)]


def test_the_order_is_that_of_the_names_and_nothing_is_chosen_twice():
    chosen = select(NAMES, ["readout", "mlp", "*"])
    assert chosen == NAMES


@given(st.lists(st.sampled_from(sorted(set(GROUPS.values()) - {"other"})), min_size=1))
def test_what_is_selected_and_what_is_left_when_it_is_excluded_are_all(groups):
    """Patterns and the same patterns excluded split the parameters."""
    own = select(NAMES, groups)
    excluded = [f"!{group}" for group in groups]
    if len(own) == len(NAMES):
        with pytest.raises(SaltusError, match="together select none"):
            select(NAMES, excluded)
    else:
        assert sorted(own + select(NAMES, excluded)) == sorted(NAMES)


@given(st.lists(st.text(alphabet="!*?[]abmlptoken.", max_size=8), max_size=4))
def test_whatever_is_written_gives_parameters_or_one_line(patterns):
    try:
        chosen = select(NAMES, patterns)
    except SaltusError as error:
        assert "\n" not in str(error) and str(error).startswith("parameters: ")
    else:
        assert chosen == [name for name in NAMES if name in chosen]


def test_patterns_that_leave_nothing_are_refused_in_one_line():
    with pytest.raises(SaltusError) as caught:
        select(NAMES, ["mlp", "!mlp"])
    assert str(caught.value) == "parameters: mlp, !mlp together select none"


def test_freezing_takes_exclusions():
    frozen = Freeze(groups=("!attention",)).frozen(NAMES, 0)
    assert frozen == [name for name in NAMES if ".attention." not in name]


def test_transplanting_takes_exclusions(tmp_path):
    save_file({name: torch.ones(2) for name in NAMES}, tmp_path / "donor.safetensors")
    graft = Transplant(source=tmp_path / "donor.safetensors", groups=("!attention", "!readout"))
    found = graft.initialise({name: torch.zeros(2) for name in NAMES}, seed=0)
    kept = {name for name, value in found.items() if not value.any()}
    assert kept == {n for n in NAMES if ".attention." in n or n.startswith("readout")}


def test_a_group_is_no_prefix_of_letters():
    """`attention.q` is not `attention.qk`: a head of a group ends at a dot."""
    with pytest.raises(SaltusError):
        select(NAMES, ["attention.q"])


def test_a_name_that_selects_nothing_is_refused_in_one_line():
    with pytest.raises(SaltusError) as caught:
        select(NAMES, ["mlp", "attention.kq"])
    assert str(caught.value) == (
        "parameters: unknown group 'attention.kq'; did you mean 'attention.qk'? Allowed: "
        "attention.output, attention.qk, attention.value, embeddings.position, embeddings.token, "
        "mlp, norm.attention, norm.final, norm.mlp, readout"
    )
