"""Learning to write: exact after a stop, the same for several processes, and nothing of the answer in the question."""

from __future__ import annotations

import math

import pytest
import torch
from small_training import at_draw, interrupt, state_of

from crate_mini.data.text import Text
from crate_mini.language import LanguageConfig, LanguageModel
from crate_mini.training import Draws, NextToken, Recipe, Repetition, Repetitions, train

ABC = "abcdefgh"


def recipe(**settings) -> Recipe:
    return Recipe(
        **{"epochs": 3, "batch_size": 8, "lr": 1e-2, "warmup_epochs": 1, "clip_norm": 1.0} | settings
    )


def model(seed: int = 0, length: int = 8) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(LanguageConfig(dim=16, heads=2, depth=1, alphabet=ABC, length=length))


def text(n: int = 300, seed: int = 0, **settings) -> Text:
    """Every character is followed by the next of the alphabet, or by the one after that."""
    steps = torch.randint(1, 3, (n,), generator=torch.Generator().manual_seed(seed))
    return Text(steps.cumsum(0) % len(ABC), **{"alphabet": ABC, "window": 8, "name": "steps"} | settings)


TASKS = {
    "next-token": (lambda r: NextToken(r, length=8), model, text(), text(60, seed=1)),
    "repetition": (
        Repetition,
        lambda seed: model(seed, 7),
        Repetitions(32, symbols=8, shortest=2, longest=3, length=7),
        Repetitions(16, symbols=8, shortest=2, longest=3, length=7),
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_stopped_and_gone_on_with(tmp_path, name):
    make, start, learned, held_out = TASKS[name]
    ends = []
    r = recipe()
    with at_draw(type(make(r)), 6, interrupt), pytest.raises(KeyboardInterrupt, match="run the same again"):
        train(start(0), learned, held_out, r, task=make(r), out=tmp_path, device="cpu", progress=False)
    for seed, out in ((0, None), (5, tmp_path)):
        network, task = start(seed), make(r)
        run = train(network, learned, held_out, r, task=task, out=out, device="cpu", progress=False)
        ends.append(
            (
                state_of(network, task),
                [{k: v for k, v in row.items() if k != "seconds"} for row in run.history],
            )
        )
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", TASKS)
def test_same_draws_whatever_the_number_of_processes(name):
    make, _, learned, _ = TASKS[name]
    numbers, task = torch.tensor([3, 0, 7, 1]), make(recipe())

    def drawn(rank: int = 0, world: int = 1) -> list[torch.Tensor]:
        got = task.draw((numbers[rank::world], learned), Draws(torch.Generator().manual_seed(3), rank, world))
        return list(got) if isinstance(got, tuple) else [got]

    for rank in range(2):
        for ours, whole in zip(drawn(rank, 2), drawn(), strict=True):
            assert torch.equal(ours, whole[rank::2])


def test_it_learns_what_there_is_to_learn():
    """Two characters may follow, as likely: the loss comes down to the logarithm of two, and no further."""
    network, r = model(), recipe(epochs=6)
    run = train(
        network, text(2000), text(300, seed=1), r, task=NextToken(r, length=8), device="cpu", progress=False
    )
    assert run["val_loss"][-1] == pytest.approx(math.log(2), abs=0.03)


def test_texts_that_do_not_fit():
    r = recipe()
    for task, learned, message in (
        (NextToken(r, length=8), text(alphabet="hgfedcba"), "has the alphabet 'hgfedcba'"),
        (NextToken(r, length=4), text(), "windows of 8 characters, a task for 4"),
        (NextToken(r, length=9), text(window=9), "a model that looks at 8"),
    ):
        with pytest.raises(ValueError, match=message):
            train(model(), learned, learned, r, task=task, progress=False)
    with pytest.raises(ValueError, match="2 or more"):
        NextToken(r, length=1)


def test_repetitions_repeat_after_their_period():
    data = Repetitions(1, symbols=64)
    drawn, period = data.draw(torch.rand(200, 65, generator=torch.Generator().manual_seed(0)))
    assert set(period.flatten().tolist()) == set(range(8, 25)), "the place tells nothing"
    for row, p in zip(drawn.tolist(), period.flatten().tolist(), strict=True):
        assert row[p:] == row[:-p]
        assert len(set(row[:p])) == p


def test_only_what_can_be_known_counts():
    """A perfect guesser of the repetition has no loss, whatever it says of what is new."""
    data = Repetitions(6, symbols=12, shortest=2, longest=4, length=8)
    drawn, period = data.draw(torch.rand(6, 13))
    right = drawn.gather(
        1, (torch.arange(1, 8) - period).clamp(min=0)
    )  # what came after the same symbol before

    class Guesser(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(50.0))

        def forward(self, numbers: torch.Tensor) -> torch.Tensor:
            return self.scale * torch.nn.functional.one_hot(right, 12)

    task = Repetition(recipe())
    assert task.loss(Guesser(), (drawn, period)).item() < 1e-6
    wrong = drawn.clone()
    wrong[:, -1] = (wrong[:, -1] + 1) % 12
    assert task.loss(Guesser(), (wrong, period)).item() > 1
