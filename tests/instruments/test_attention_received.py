"""Attention received by each key, and its shares on indicators and targets."""

import dataclasses
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

from saltus.cli import main
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments import Instrument, Reading
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.attention_received import AttentionReceived, received, shares
from saltus.models import Tape, initial_parameters
from saltus.models.base import Interface
from saltus.models.vit import VisionTransformer
from saltus.tasks import Task
from saltus.tasks.images.two_step import TwoStepImage
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import Watch
from saltus.training.readings import measure

KIND = "attention-received/blocks.0"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "attention-measurements.md"


class Grid(Task):
    """Pictures in which some patches are indicators, of every sample its own."""

    side: int = 56

    @property
    def interface(self):
        return Interface(0, 1, 10, image=(3, self.side, self.side))

    def roles(self, batch, tokens):
        """A class token has no role."""
        masks = {}
        for name in ("indicator", "target"):
            mask = batch[name]
            none = torch.zeros_like(mask[..., :1])
            masks[name] = torch.cat([none, mask], -1) if tokens > mask.shape[-1] else mask
        return masks


def halves(samples, patches):
    """Half of the patches of each sample are indicators, the others targets."""
    order = torch.rand(samples, patches).argsort(-1)
    return {"indicator": order < patches // 2, "target": order >= patches // 2}


def vit(uniform, **fields):
    """One block of the paper's ViT, tokens and all, and what it gives on two pictures."""
    task = Grid(kind="grid")
    model = VisionTransformer(depth=1, width=8, heads=2, **fields)
    module = model.build(task.interface)
    parameters = initial_parameters(model, module, seed=0)
    if uniform:
        parameters["blocks.0.attention.query.weight"].zero_()
    batch = {"inputs": torch.rand(2, 3, 56, 56), **halves(2, 196)}
    tape = Tape(capture=["*"])
    functional_call(module, parameters, (batch["inputs"], tape))
    return Reading(task=task, parameters=parameters, model=model, batch=batch, sites=tape.values)


def test_uniform_attention_of_the_paper_s_vit():
    found = AttentionReceived().read(vit(uniform=True))
    torch.testing.assert_close(found[KIND], torch.ones(2, 197))
    for role in ("indicator", "target"):
        for name in (role, f"{role}.readout"):
            share = found[f"{KIND}/{name}"].item()
            assert share == pytest.approx(0.5 * 196 / 197, rel=1e-5)
            assert found[f"{KIND}/{name}.heads"].shape == (2,)


def test_entropy_of_a_vit_counts_the_class_token():
    reading = vit(uniform=True)
    whole = AttentionEntropy().read(reading)["entropy/blocks.0"]
    torch.testing.assert_close(whole, torch.full((2,), math.log(197)))
    share = AttentionEntropy(normalised=True).read(reading)["entropy/blocks.0.normalised"]
    torch.testing.assert_close(share, torch.ones(2))
    # A weight of one half on the class token, the rest on all patches alike.
    pattern = torch.full((2, 2, 197, 197), 0.5 / 196)
    pattern[..., 0] = 0.5
    reading = dataclasses.replace(reading, sites={"blocks.0.attention.pattern": pattern})
    found = AttentionEntropy(normalised=True).read(reading)["entropy/blocks.0.normalised"]
    expected = (math.log(2) + 0.5 * math.log(196)) / math.log(197)
    torch.testing.assert_close(found, torch.full((2,), expected))


def test_by_plain_loops():
    pattern = torch.rand(2, 3, 17, 17, dtype=torch.float64).softmax(-1)
    batch = halves(2, 16)
    reading = hand_made(pattern, batch)
    found = AttentionReceived().read(reading)
    for head in range(3):
        maps, on, of_class = [], [], []
        for sample in range(2):
            rows = pattern[sample, head].tolist()
            sums = [sum(row[key] for row in rows) for key in range(17)]
            maps.append([value / max(sums) for value in sums])
            inside = [
                sum(row[1 + patch] for patch in range(16) if batch["indicator"][sample, patch])
                for row in rows
            ]
            on.append(sum(inside) / 17)
            of_class.append(inside[0])
        mean = [sum(values) / 2 for values in zip(*maps, strict=True)]
        assert found[KIND][head].tolist() == pytest.approx(mean)
        assert found[f"{KIND}/indicator.heads"][head].item() == pytest.approx(sum(on) / 2)
        own = found[f"{KIND}/indicator.readout.heads"][head].item()
        assert own == pytest.approx(sum(of_class) / 2)
    mean = found[f"{KIND}/indicator.heads"].mean()
    torch.testing.assert_close(found[f"{KIND}/indicator"], mean)


def test_shares_of_indicators_targets_and_the_class_token_sum_to_1():
    pattern = torch.rand(2, 3, 17, 17, dtype=torch.float64).softmax(-1)
    found = AttentionReceived().read(hand_made(pattern, halves(2, 16)))
    rest = pattern[..., 0].mean((0, 2))
    total = found[f"{KIND}/indicator.heads"] + found[f"{KIND}/target.heads"] + rest
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64))


def hand_made(pattern, batch):
    return Reading(
        task=Grid(kind="grid", side=4),
        parameters={"class_token": torch.zeros(1, 8)},
        batch=batch,
        sites={"blocks.0.attention.pattern": pattern},
    )


def test_attention_on_one_key_and_a_causal_average():
    one_hot = torch.zeros(4, 4)
    one_hot[:, 2] = 1
    assert received(one_hot).tolist() == [0, 0, 1, 0]
    causal = torch.ones(3, 3).tril() / torch.tensor([[1.0], [2.0], [3.0]])
    torch.testing.assert_close(received(causal), torch.tensor([11.0, 5.0, 2.0]) / 11)


def test_signed_weights_count_by_magnitude_and_nothing_stays_nothing():
    signed = torch.tensor([[3.0, -1.0], [0.0, 0.0]])
    assert shares(signed).tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert received(torch.zeros(2, 2)).tolist() == [0, 0]


def test_which_query_the_answer_is_read_from(one):
    def names(reading):
        found = AttentionReceived().read(dataclasses.replace(reading, task=Sequence(kind="seq")))
        return {name.removeprefix(KIND + "/") for name in found if name.startswith(KIND + "/")}

    causal = one()
    assert names(causal) == {"target", "target.heads", "target.readout", "target.readout.heads"}
    both_ways = one(causal=False)
    assert names(both_ways) == {"target", "target.heads"}
    assert names(vit(uniform=False, pooling="mean")) == {"target", "target.heads"}
    last = causal.sites["blocks.0.attention.pattern"][:, :, -1, :2].sum(-1).mean(0)
    sequence = dataclasses.replace(causal, task=Sequence(kind="seq"))
    found = AttentionReceived().read(sequence)[f"{KIND}/target.readout.heads"]
    torch.testing.assert_close(found, last)


class Sequence(Task):
    """The first two tokens are targets."""

    def roles(self, batch, tokens):
        mask = torch.zeros(len(batch["inputs"]), tokens, dtype=torch.bool)
        mask[:, :2] = True
        return {"target": mask}


def test_a_task_without_roles_has_maps_alone(one, words):
    assert AttentionReceived().read(one()).keys() == {
        f"attention-received/blocks.{i}" for i in (0, 1)
    }
    assert AttentionReceived().read(words().one()).keys() == {KIND}


MEASURES = [
    {"kind": "attention-entropy"},
    {"kind": "attention-logits"},
    {"kind": "attention-received"},
    {"kind": "local-attention-gradients"},
    {"kind": "qkv-gradients"},
    {"kind": "softmax-jacobian"},
]


def ensemble(seeds, attention="softmax", **model):
    experiment = Experiment(
        task=TwoStepImage(),
        model=VisionTransformer(
            **{"depth": 1, "width": 16, "heads": 2, "patch": 4, "attention": attention, **model}
        ),
        instruments=MEASURES,
        steps=2,
        batch=8,
        evaluation_batch=8,
        seeds=seeds,
    )
    made = Ensemble(experiment.members())
    made.differentiate(0)
    return made


@pytest.mark.parametrize("attention", ["softmax", "norm-softmax"])
def test_all_measures_of_attention_on_an_ensemble_that_reads_images(attention):
    """A member is the same in any company, or the engine sees that and reads it alone."""
    together = ensemble([4, 0], attention)
    found = measure(together, together.experiment.instruments, 0)
    families = {name.partition("/")[0] for name in found}
    assert len(families) == len(MEASURES)
    assert all(value.isfinite().all() and len(value) == 2 for value in found.values())
    for row, seed in enumerate([4, 0]):
        single = ensemble([seed], attention)
        with Watch() as watch:
            alone = measure(single, single.experiment.instruments, 0)
        assert alone.keys() == found.keys()
        differing = [name for name in alone if not alone[name][0].equal(found[name][row])]
        assert not differing or watch.ragged


@pytest.mark.parametrize("kind", ["attention-received", "local-attention-gradients"])
def test_patches_that_are_no_square_are_one_line(kind):
    odd = ensemble([0], patch=(4, 8), pooling="mean")
    with pytest.raises(SaltusError, match=f"{kind}: task two-step-image: 8 tokens: allowed"):
        measure(odd, [Instrument.parse(kind)], 0)


def test_the_page_on_measurements_of_attention_runs(tmp_path, monkeypatch, capsys):
    text = PAGE.read_text("utf-8")
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 100
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(blocks), PAGE.name, "exec"), {})
    (command,) = re.findall(r"^saltus (look .*)$", text, re.MULTILINE)
    capsys.readouterr()
    assert main(shlex.split(command)) == 0
    said = capsys.readouterr()
    assert "softmax-jacobian/blocks.0" in said.out and not said.err
