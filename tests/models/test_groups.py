"""Named parameter groups: one vocabulary, and one line for a name that is not in it."""

import pytest

from saltus.errors import SaltusError
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
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "chosen",
)
def test_patterns_select_groups_heads_of_groups_and_names(patterns, chosen):
    assert select(NAMES, patterns) == [name for name in NAMES if chosen(name)]


def test_the_order_is_that_of_the_names_and_nothing_is_chosen_twice():
    chosen = select(NAMES, ["readout", "mlp", "*"])
    assert chosen == NAMES


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
