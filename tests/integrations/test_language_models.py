"""COS, rho and entropy of language models: against our own instruments, loops and the library."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.base import Reading
from saltus.instruments.hidden_cosine import HiddenCosine
from saltus.instruments.repetition import repetition_rate
from saltus.integrations import language_models
from saltus.integrations.greedy import write
from saltus.integrations.language_models import (
    Measured,
    Unmeasured,
    repetitions,
    state_cosines,
    step_of,
    token_entropies,
    trajectory,
)
from saltus.integrations.pretrained import Loading
from saltus.integrations.prompts import RandomPrompts
from saltus.models.sites import Tape
from saltus.random import Draws

UNEVEN = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [3], [5, 5], [11, 0, 11, 0], [2, 9, 4]]
MODELS = ("softmax", "llama", "neox")
OFFLINE = Loading(offline=True)


@pytest.fixture
def model(request, checkpoints, strangers):
    folder = checkpoints[-1] if request.param == "softmax" else strangers(request.param)
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()


def one(checkpoint: Path, prompts, new_tokens=8, **more) -> Measured:
    (found,) = trajectory([str(checkpoint)], prompts, new_tokens, loading=OFFLINE, **more)
    assert isinstance(found, Measured), found
    return found


def test_it_is_hidden_cosine_and_repetition_of_our_own(run, checkpoints):
    """The same sequences through our Decoder: COS of its final states, rho of its answers."""
    experiment = Experiment.of(run.experiment)
    task = experiment.task
    prompts = task.sample(Draws(2, "here"), 24)["inputs"][:, : task.prompt_length]
    for step, folder in zip((0, 20, 40), checkpoints, strict=True):
        found = one(folder, prompts.tolist(), task.answer_length)
        module = experiment.model.build(task.interface)
        values = run.checkpoint(step).items()
        module.load_state_dict({name: torch.from_numpy(value[1]) for name, value in values})
        written = torch.from_numpy(found.written)
        tape = Tape(["final"])
        with torch.no_grad():
            outputs = module(torch.cat([prompts, written[:, :-1]], -1), tape)
        assert torch.equal(outputs[:, task.output_rows()].argmax(-1), written)
        reading = Reading(task=task, parameters={}, sites=tape.values)
        cosine = HiddenCosine(skip_first=False).read(reading)["cosine/final"].item()
        assert found.cosine.estimate == pytest.approx(cosine, rel=1e-5)
        rate = repetition_rate(written).item()
        assert found.repetition.estimate == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("model", MODELS, indirect=True)
@torch.no_grad()
def test_states_are_what_the_readout_reads_and_tokens_what_the_library_writes(model):
    vocabulary = model.config.vocab_size
    for prompt in ([1, 2, 3], [4, 5, 0, 1]):
        found = write(model, [prompt], 5)
        library = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            eos_token_id=vocabulary + 1,  # none
        )
        assert found.tokens.tolist() == library[:, len(prompt) :].tolist()
        whole = model(library[:, :-1], output_hidden_states=True)
        states = whole.hidden_states[-1][:, len(prompt) - 1 :]
        torch.testing.assert_close(found.states, states, rtol=1e-4, atol=1e-5)
        read = model.get_output_embeddings()(found.states)
        torch.testing.assert_close(read, whole.logits[:, len(prompt) - 1 :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_together_is_one_by_one(model):
    """Prompts of different lengths, padded on the left, in batches of any size and order."""
    prompts = [[token % model.config.vocab_size for token in prompt] for prompt in UNEVEN]
    prompts = [prompt[:4] for prompt in prompts]  # room for new tokens in ten positions
    alone = [write(model, [prompt], 6) for prompt in prompts]
    for batch in (1, 4, 6):
        together = write(model, prompts, 6, batch)
        for row, single in enumerate(alone):
            assert torch.equal(together.tokens[row], single.tokens[0])
            torch.testing.assert_close(together.states[row], single.states[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["softmax"], indirect=True)
def test_a_model_without_positions_or_cache_gets_whole_prompts_of_one_length(model):
    """As Mamba and RWKV: its forward takes neither, and must not see padding."""

    class Bare(torch.nn.Module):
        device = model.device

        def forward(self, input_ids, attention_mask, output_hidden_states, return_dict, use_cache):
            assert attention_mask.all() and not use_cache
            return model(input_ids, output_hidden_states=True, use_cache=False)

    prompts = [[1, 2], [3], [4, 5], [1, 1, 1]]
    bare, own = write(Bare(), prompts, 4, batch=3), write(model, prompts, 4)
    assert torch.equal(bare.tokens, own.tokens)
    torch.testing.assert_close(bare.states, own.states, rtol=1e-4, atol=1e-5)


def test_eight_tokens_make_28_pairs_and_7():
    states = torch.eye(8, 16)[None].clone()
    assert state_cosines(states).item() == pytest.approx(0, abs=1e-6)
    states[0, 5] = 3 * states[0, 2]
    assert state_cosines(states).item() == pytest.approx(1 / 28)
    tokens = torch.tensor([[1, 1, 2, 3, 4, 5, 6, 7]])
    assert repetitions(tokens).item() == pytest.approx(1 / 7)
    assert state_cosines(torch.ones(2, 8, 4, dtype=torch.bfloat16)).dtype == torch.float32


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_entropy_and_rho_by_plain_loops(rows):
    tokens = torch.tensor(rows)
    for row, entropy, rho in zip(rows, token_entropies(tokens), repetitions(tokens), strict=True):
        shares = [count / 5 for count in Counter(row).values()]
        assert entropy.item() == pytest.approx(sum(p * math.log(1 / p) for p in shares), abs=1e-12)
        assert rho.item() == sum(a == b for a, b in pairwise(row)) / 4
    assert repetitions(tokens).mean().item() == pytest.approx(repetition_rate(tokens).item())


def test_a_text_s_end_ends_nothing(strangers, tmp_path):
    """An end token that the model writes at once: it goes on, and that is counted."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    prompts = [[1, 2, 3], [4, 5, 6]]
    before = one(strangers("llama"), prompts)
    model = LlamaForCausalLM.from_pretrained(strangers("llama"))
    model.generation_config.eos_token_id = int(before.written[0, 0])
    model.save_pretrained(tmp_path / "ends")
    AutoTokenizer.from_pretrained(strangers("llama")).save_pretrained(tmp_path / "ends")
    after = one(tmp_path / "ends", prompts)
    assert (after.written == before.written).all() and after.ended >= 1


def test_steps_are_taken_in_order_and_one_model_is_in_memory_at_a_time(checkpoints, monkeypatch):
    held: list = []
    original = language_models.load

    def load(*arguments):
        assert all(p.is_meta for each in held for p in each.parameters())
        held.append(original(*arguments))
        return held[-1]

    monkeypatch.setattr(language_models, "load", load)
    shuffled = [str(checkpoints[index]) for index in (2, 0, 1)]
    found = list(trajectory(shuffled, RandomPrompts(6, 3), 4, loading=OFFLINE))
    assert [each.step for each in found] == [0, 20, 40] and len(held) == 3
    assert len({each.written.tobytes() for each in found}) == 3
    assert found[0].cosine.count == 6  # the interval is over prompts


def test_precision(checkpoints):
    found = {}
    for precision in ("float32", "float64", "bfloat16"):
        loading = Loading(precision=precision, offline=True)
        (found[precision],) = trajectory([str(checkpoints[0])], [[1, 2, 3]], 4, loading=loading)
    assert found["float64"].cosines == pytest.approx(found["float32"].cosines, abs=1e-5)
    assert found["bfloat16"].cosines != found["float32"].cosines
    assert found["bfloat16"].cosines == pytest.approx(found["float32"].cosines, abs=0.05)


def test_text_goes_through_the_checkpoint_s_tokenizer(strangers):
    texts = ["why do leaves look green", "the sky", "and so what"]
    ids = [[1, 2, 3, 4, 5], [7, 8], [6, 9, 0]]
    for name in ("llama", "neox"):
        assert (one(strangers(name), texts).written == one(strangers(name), ids).written).all()


def test_random_prompts_are_the_same_wherever_the_vocabulary_is():
    first = RandomPrompts(7, 4, seed=1).ids(11)
    assert first == RandomPrompts(7, 4, seed=1).ids(11) != RandomPrompts(7, 4, seed=2).ids(11)
    assert {len(prompt) for prompt in first} == {4} and len(first) == 7
    assert {token for prompt in first for token in prompt} <= set(range(11))


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("EleutherAI/pythia-14m@step1000", 1000),
        ("runs/x/step-00000020", 20),
        ("out/checkpoint-500", 500),
        ("allenai/OLMo-2-1124-7B@stage1-step150-tokens1B", 150),
        ("step-1/of/step-2", 2),
        ("gpt2", None),
    ],
)
def test_steps_in_names(name, step):
    assert step_of(name) == step


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"new_tokens": 1}, "new_tokens: 1 is not allowed: 2 or more, to have a pair"),
        ({"batch": 0}, "batch: 0 is not allowed: 1 or more"),
        ({"prompts": []}, "prompts: none given; allowed: 1 or more"),
        ({"prompts": RandomPrompts(0)}, "random prompts: count and length must be 1 or more"),
        ({"steps_from": "step("}, "steps_from: 'step(' is not a regular expression: missing ), "),
        ({"steps_from": "step"}, "steps_from: 'step' must have one group, as in 'step(\\d+)'"),
        ({"steps_from": "(ste)p"}, "steps_from: '(ste)p' finds 'ste' in step-0: no step"),
    ],
)
def test_what_concerns_all_checkpoints_is_an_error(arguments, line):
    given = {"prompts": [[1, 2]], **arguments}
    with pytest.raises(SaltusError) as error:
        trajectory(["step-0"], **given)
    assert str(error.value).startswith(line)


def test_one_bad_checkpoint_harms_no_other(checkpoints, strangers, tmp_path):
    good = [str(each) for each in checkpoints[:2]]
    alone = list(trajectory(good, RandomPrompts(5, 3), 4, loading=OFFLINE))
    (tmp_path / "empty").mkdir()
    bad = [str(tmp_path / "empty"), str(strangers("llama")), str(tmp_path / "nothing/here")]
    mixed = [good[0], *bad, good[1]]
    found = list(trajectory(mixed, RandomPrompts(5, 3), 4, loading=OFFLINE))
    assert [type(each) for each in found] == [Measured, *[Unmeasured] * 3, Measured]
    assert [each.reason for each in found[1:4]] == [
        "the folder has no config.json: not a checkpoint of Hugging Face's",
        "another architecture than the first checkpoint: model_type is llama; allowed: gpt2",
        "there is no such folder; allowed: a folder, NAME or NAME@REVISION",
    ]
    for mine, theirs in zip(alone, (found[0], found[-1]), strict=True):
        assert (mine.written == theirs.written).all() and (mine.cosines == theirs.cosines).all()
