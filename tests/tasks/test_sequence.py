"""What holds for every sequence task: sampling, the loss, the metrics and greedy decoding."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from saltus.models.base import initial_parameters
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks import SequenceTask, Task
from saltus.tasks.addition import Addition
from saltus.tasks.concatenated_sums import ConcatenatedSums
from saltus.tasks.copying import Copy, Reverse
from saltus.tasks.histogram import Histogram
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.permutation import Permutation
from saltus.tasks.prefix_sum import PrefixSum
from saltus.tasks.repeat import Repeat

TASKS = [
    MovingWindowSum(length=5),
    MovingWindowSum(length=7, window=3, alphabet=4, modulus=11),
    MovingWindowSum(length=2, window=1, alphabet=2, modulus=2),
    ConcatenatedSums(),
    PrefixSum(length=5),
    PrefixSum(length=4, alphabet=4, inputs="permutation"),
    Addition(digits=2),
    Permutation(length=4, alphabet=3, compositions=2),
    Histogram(length=5),
    Copy(length=3),
    Reverse(length=3),
    Repeat(length=4, blocks=2),
]
every_task = pytest.mark.parametrize(
    "task", TASKS, ids=[f"{number}-{task.kind}" for number, task in enumerate(TASKS)]
)


@every_task
@given(seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=4), step=st.integers(0, 999))
def test_stacked_sampling_is_single_sampling(task, seeds, step):
    together = task.sample(Draws(seeds, "data", step), 3)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step), 3)
        assert alone.keys() == together.keys()
        assert all(together[name][row].equal(value) for name, value in alone.items())


@every_task
def test_targets_are_the_inputs_one_token_later(task):
    batch = task.sample(Draws(0, "data"), 6)
    assert batch["inputs"].shape == batch["targets"].shape == (6, task.interface.positions)
    assert batch["inputs"][:, 1:].equal(batch["targets"][:, :-1])


@every_task
def test_the_answer_is_what_follows_the_prompt(task):
    batch = task.sample(Draws([0, 1], "data"), 6)
    answer = task.answer(batch)
    assert answer.shape == (2, 6, task.answer_length)
    assert answer.equal(task.solve(batch["inputs"][..., : task.prompt_length - 1]))


@every_task
def test_a_task_is_data_and_can_be_a_key(task):
    assert Task.parse(task.model_dump(mode="json")) == task
    assert hash(Task.parse(task.model_dump())) == hash(task)


@every_task
def test_what_is_said_of_answers_lies_in_their_rows(task):
    rows, positions = task.output_rows(), task.interface.positions
    assert range(positions)[rows] == range(positions - task.answer_length, positions)
    groups = [position for group in task.state_groups() for position in group]
    assert len(set(groups)) == len(groups) and set(groups) <= set(range(positions)[rows])
    needed = task.attended()
    if needed is not None:
        assert needed.shape == (positions, positions)
        assert needed[rows].any(-1).all()
        assert not needed.triu(1).any()  # no query needs a later key
        assert task.attended_in(task.sample(Draws(0, "data"), 2)).equal(needed.expand(2, -1, -1))


@every_task
def test_tokens_stand_for_their_own_numbers_and_signs_for_none(task):
    values = task.token_values()
    assert values.shape == (task.vocabulary,)
    ids = torch.arange(task.vocabulary).float()
    assert values[task.separator].isnan()
    assert values[~values.isnan()].equal(ids[~values.isnan()])
    assert values.isnan().sum() == (2 if isinstance(task, Addition) else 1)
    tokens = task.sequences(Draws(0, "data"), 50)
    assert tokens.min() >= 0 and tokens.max() < task.vocabulary


@every_task
def test_the_floor_lies_below_what_is_known_before(task):
    levels = list(task.levels().values())
    assert levels == sorted(levels) and levels[0] > 0


@every_task
def test_the_loss_of_a_sample_is_its_mean_cross_entropy(task):
    batch = task.sample(Draws(0, "data"), 6)
    outputs = torch.randn(6, task.interface.positions, task.vocabulary)
    losses = task.loss(outputs, batch)
    for sample in range(6):
        expected = F.cross_entropy(outputs[sample], batch["targets"][sample])
        torch.testing.assert_close(losses[sample], expected)
    torch.testing.assert_close(
        losses.mean(), F.cross_entropy(outputs.flatten(0, 1), batch["targets"].flatten())
    )


@every_task
def test_losses_and_metrics_of_a_stack_are_those_of_its_members(task):
    batch = task.sample(Draws([3, 4], "data"), 6)
    outputs = torch.randn(2, 6, task.interface.positions, task.vocabulary)
    losses, metrics = task.loss(outputs, batch), task.metrics(outputs, batch)
    for k in range(2):
        own = {name: value[k] for name, value in batch.items()}
        assert task.loss(outputs[k], own).equal(losses[k])
        for name, value in task.metrics(outputs[k], own).items():
            assert value.shape == ()
            torch.testing.assert_close(value, metrics[name][k])


@every_task
def test_metrics_of_an_oracle_and_of_one_who_knows_nothing(task):
    batch = task.sample(Draws(0, "data"), 6)
    oracle = 100.0 * F.one_hot(batch["targets"], task.vocabulary)
    found = task.metrics(oracle, batch)
    assert found["accuracy/teacher-forced"] == 1
    assert found["loss/answer"] < 1e-6
    ignorant = task.metrics(torch.zeros_like(oracle), batch)["loss/answer"]
    torch.testing.assert_close(ignorant, torch.tensor(float(task.vocabulary)).log())


@every_task
def test_greedy_decoding_with_an_oracle_is_always_right(task):
    batch = task.sample(Draws([0, 1, 2], "data"), 6)
    lengths = []

    def oracle(tokens):
        lengths.append(tokens.shape[-1])
        answer = task.solve(tokens[..., : task.prompt_length - 1])
        following = torch.cat([tokens[..., 1 : task.prompt_length], answer], dim=-1)
        return F.one_hot(following, task.vocabulary).float()[..., : tokens.shape[-1], :]

    written = task.generate(oracle, batch)
    assert written.equal(task.answer(batch))
    assert lengths == list(range(task.prompt_length, task.interface.positions + 1))


@every_task
def test_greedy_decoding_reads_its_own_tokens_and_never_the_answer(task):
    batch = task.sample(Draws(0, "data"), 6)

    def successor(tokens):
        return F.one_hot((tokens + 1) % task.vocabulary, task.vocabulary).float()

    expected = (task.separator + 1 + torch.arange(task.answer_length)) % task.vocabulary
    assert task.generate(successor, batch).equal(expected.expand(6, -1))


@pytest.mark.parametrize("family", [Task, SequenceTask])
def test_a_task_that_leaves_something_out_is_named(family):
    class Unfinished(family):
        kind: str = "unfinished"

    try:
        with pytest.raises(NotImplementedError, match="Unfinished"):
            _ = Unfinished().interface
        with pytest.raises(NotImplementedError, match="Unfinished"):
            Unfinished().sample(Draws(0, "data"), 1)
    finally:
        Task.registry.pop("unfinished", None)


@given(seed=st.integers(0, 50), width=st.sampled_from([4, 8]), length=st.integers(2, 7))
def test_decoding_a_causal_model_at_once_is_decoding_it_token_by_token(seed, width, length):
    task = MovingWindowSum(length=length, alphabet=3, modulus=4)
    config = Decoder(width=width, heads=2, depth=2, initial_deviation=1.0)
    module = config.build(task.interface).double()
    module.load_state_dict(initial_parameters(config, module, seed, dtype=torch.float64))
    batch = task.sample(Draws(seed, "evaluation"), 9)
    with torch.no_grad():
        slow = task.generate(module, batch)
        assert torch.equal(task.generate(module, batch, causal=True), slow)
        # The guess it starts from is forgotten: another one leads to the same answer.
        wrong = {**batch, "inputs": batch["inputs"].clone()}
        wrong["inputs"][..., task.prompt_length :] = 0
        assert torch.equal(task.generate(module, wrong, causal=True), slow)
