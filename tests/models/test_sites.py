"""The tape: captures, edits, and what an overwritten site does downstream."""

import pytest
import torch
from torch.func import functional_call

from saltus.models import SILENT, Interface, Tape, initial_parameters
from saltus.models.attention import FUSED_FROM
from saltus.models.transformer import Decoder

SHORT, LONG = 5, FUSED_FROM + 3
settings = pytest.mark.parametrize(
    "model",
    [
        Decoder(depth=2, heads=2, width=8, attention=attention, norm=norm, initial_scale=10)
        for attention in ("softmax", "linear")
        for norm in ("pre", "post")
    ],
    ids=lambda model: f"{model.attention.kind}-{model.norm}",
)
lengths = pytest.mark.parametrize("length", [SHORT, LONG])


class Network:
    """One model with fixed parameters and inputs, to be run with different tapes."""

    def __init__(self, model, length):
        self.module = model.build(Interface(11, length, 11)).double()
        self.own = initial_parameters(model, self.module, 0, dtype=torch.float64)
        self.tokens = torch.randint(11, (3, length))

    def __call__(self, tape=SILENT):
        return functional_call(self.module, self.own, (self.tokens, tape))

    def read(self, *patterns):
        tape = Tape(patterns)
        self(tape)
        return tape.values


def all_sites(model, length):
    d, h = model.width // model.heads, model.heads
    wide, square = (3, length, model.width), (3, h, length, length)
    sites = {"embedding": wide, "final": wide}
    for i in range(model.depth):
        for what in ("residual.pre", "residual.mid", "residual.post", "mlp.output"):
            sites[f"blocks.{i}.{what}"] = wide
        sites[f"blocks.{i}.attention.output"] = wide
        sites[f"blocks.{i}.attention.heads"] = (3, h, length, d)
        for what in ("query", "key", "value"):
            sites[f"blocks.{i}.attention.{what}"] = (3, h, length, d)
        sites[f"blocks.{i}.attention.temperature"] = (1, 1, 1, 1)
        sites[f"blocks.{i}.attention.logits"] = square
        sites[f"blocks.{i}.attention.scores"] = square
        sites[f"blocks.{i}.attention.pattern"] = square
    return sites


@settings
@lengths
def test_every_site_is_captured_with_its_shape_and_reading_changes_nothing(model, length):
    network = Network(model, length)
    tape = Tape(["*"])
    outputs = network(tape)
    shapes = {name: tuple(value.shape) for name, value in tape.values.items()}
    assert shapes == all_sites(model, length)
    torch.testing.assert_close(outputs, network())


@settings
@lengths
def test_sites_are_what_their_names_say(model, length):
    network = Network(model, length)
    read, own = network.read("*"), network.own
    table = own["token.weight"][network.tokens] + own["position.weight"][:length]
    torch.testing.assert_close(read["embedding"], table)
    assert read["blocks.0.residual.pre"].equal(read["embedding"])
    assert read["blocks.1.residual.pre"].equal(read["blocks.0.residual.post"])
    if model.norm == "pre":
        branch = read["blocks.0.attention.output"]
        torch.testing.assert_close(
            read["blocks.0.residual.mid"], read["blocks.0.residual.pre"] + branch
        )
        torch.testing.assert_close(
            read["blocks.0.residual.post"],
            read["blocks.0.residual.mid"] + read["blocks.0.mlp.output"],
        )
    heads = read["blocks.0.attention.heads"].transpose(-2, -3).flatten(-2)
    torch.testing.assert_close(
        heads @ own["blocks.0.attention.output.weight"].T, read["blocks.0.attention.output"]
    )
    torch.testing.assert_close(read["final"] @ own["readout.weight"].T, network())


@settings
@lengths
def test_one_pattern_captures_what_it_matches_and_no_more(model, length):
    network = Network(model, length)
    assert set(network.read("blocks.1.attention.pattern")) == {"blocks.1.attention.pattern"}
    assert set(network.read("blocks.*.attention.pattern", "final")) == {
        "blocks.0.attention.pattern",
        "blocks.1.attention.pattern",
        "final",
    }
    assert network.read("nothing.of.that.name") == {}


def test_an_idle_tape_records_nothing_and_returns_the_very_value():
    value = torch.ones(2)
    assert SILENT("embedding", value) is value
    assert SILENT.values == {} and SILENT.idle and not SILENT.wants("embedding")


def test_edits_act_in_order_and_what_is_captured_comes_after_them():
    names = []

    def add(name, value):
        names.append(name)
        return value + 1

    tape = Tape(["a.*"], {"a.b": (add, lambda _, v: v * 10), "a.*": (lambda _, v: v - 5,)})
    result = tape("a.b", torch.tensor(2.0))
    assert result == (2 + 1) * 10 - 5
    assert tape.values["a.b"] is result
    assert names == ["a.b"]
    assert tape("c", torch.tensor(2.0)) == 2 and set(tape.values) == {"a.b"}


def test_a_tape_wants_what_it_captures_and_what_it_edits():
    tape = Tape(["a.*"], {"b.pattern": (lambda _, value: value,)})
    assert tape.wants("a.x") and tape.wants("b.pattern")
    assert not tape.wants("b.heads") and not tape.wants("c")


@settings
@lengths
def test_an_edit_that_returns_the_value_changes_nothing(model, length):
    network = Network(model, length)
    same = Tape(edits={"*": (lambda _, value: value,)})
    torch.testing.assert_close(network(same), network())


@settings
@lengths
def test_an_overwritten_pattern_mixes_the_values_as_the_closed_form_says(model, length):
    network = Network(model, length)
    uniform = torch.ones(length, length, dtype=torch.float64).tril()
    uniform /= uniform.sum(-1, keepdim=True)
    name = "blocks.0.attention"
    tape = Tape(
        [f"{name}.heads", f"{name}.pattern"],
        {f"{name}.pattern": (lambda _, value: uniform.expand_as(value),)},
    )
    changed = network(tape)
    assert tape.values[f"{name}.pattern"].equal(uniform.expand(3, model.heads, length, length))
    # A uniform causal pattern averages the values so far.
    x = network.read("embedding")["embedding"]
    if model.norm == "pre":
        x = torch.nn.functional.layer_norm(x, (model.width,))
    value = (x @ network.own[f"{name}.value.weight"].T).unflatten(-1, (model.heads, -1))
    counts = torch.arange(1, length + 1, dtype=torch.float64).view(-1, 1, 1)
    means = (value.cumsum(1) / counts).transpose(1, 2)
    torch.testing.assert_close(tape.values[f"{name}.heads"], means)
    assert not changed.allclose(network())


@settings
@lengths
def test_removing_a_head_removes_its_part_of_the_output_projection(model, length):
    network = Network(model, length)
    name, d = "blocks.1.attention", model.width // model.heads

    def remove(_, value):
        keep = torch.tensor([1.0, 0.0], dtype=value.dtype).view(2, 1, 1)
        return value * keep

    tape = Tape([f"{name}.output"], {f"{name}.heads": (remove,)})
    network(tape)
    intact = network.read(f"{name}.heads", f"{name}.output")
    weight = network.own[f"{name}.output.weight"]
    removed = intact[f"{name}.heads"][:, 1] @ weight[:, d:].T
    torch.testing.assert_close(tape.values[f"{name}.output"], intact[f"{name}.output"] - removed)


@settings
def test_shifting_what_the_readout_reads_shifts_the_outputs_by_its_image(model):
    network = Network(model, SHORT)
    shift = torch.randn(model.width, dtype=torch.float64)
    tape = Tape(edits={"final": (lambda _, value: value + shift,)})
    moved = shift @ network.own["readout.weight"].T
    torch.testing.assert_close(network(tape), network() + moved)


@settings
@lengths
def test_patching_all_sites_of_a_run_with_its_own_values_changes_nothing(model, length):
    network = Network(model, length)
    values = network.read("*")
    tape = Tape(edits={"*": (lambda name, _: values[name],)})
    torch.testing.assert_close(network(tape), network())


@settings
def test_what_is_captured_carries_its_gradient(model):
    network = Network(model, SHORT)
    tape = Tape(["blocks.0.attention.pattern"])
    for value in network.own.values():
        value.requires_grad_()
    outputs = network(tape)
    (slope,) = torch.autograd.grad(
        outputs.square().sum(), tape.values["blocks.0.attention.pattern"]
    )
    assert slope.abs().sum() > 0
