"""Who hears what of a training, and when."""

from __future__ import annotations

import pytest
import torch
from small_training import at_draw, interrupt, recipe, run, tiny, weights

from crate_mini import training
from crate_mini.training import Callback, Callbacks, Classification
from crate_mini.weights import load_model


class Diary(Callback):
    def __init__(self, name: str = "", shared: list | None = None) -> None:
        self.name, self.pages = name, [] if shared is None else shared

    def on_start(self, model, run):
        self.pages.append((self.name, "start", len(run.history)))

    def on_step(self, row):
        self.pages.append((self.name, "step", row["step"]))

    def on_mark(self, share, model):
        self.pages.append((self.name, "mark", share))

    def on_epoch_end(self, epoch, model, row):
        assert row["epoch"] == epoch
        self.pages.append((self.name, "epoch", epoch, row["val_top1"] is None))

    def on_end(self, model, run):
        assert not model.training
        self.pages.append((self.name, "end", len(run.history)))


@pytest.fixture(autouse=True)
def _every_step(monkeypatch):
    monkeypatch.setattr(training.callbacks.Pace, "SECONDS", 0.0)


def test_everything_in_order(tmp_path):
    diary = Diary()
    run(tiny(), recipe(epochs=2, evaluate_every=2), callbacks=[diary], out=tmp_path, save_at=[0.0, 0.75])
    assert [page[1:] for page in diary.pages] == [
        ("start", 0), ("mark", 0.0), ("step", 1), ("step", 2), ("step", 3), ("step", 4), ("epoch", 1, True),
        ("step", 5), ("step", 6), ("mark", 0.75), ("step", 7), ("step", 8), ("epoch", 2, False), ("end", 2),
    ]  # fmt: skip


def test_a_training_that_goes_on_says_so(tmp_path):
    with at_draw(Classification, 6, interrupt), pytest.raises(KeyboardInterrupt):
        run(tiny(), recipe(epochs=2), out=tmp_path)
    diary = Diary()
    run(tiny(), recipe(epochs=2), callbacks=[diary], out=tmp_path)
    assert [page[1:3] for page in diary.pages] == [
        ("start", 1), ("step", 7), ("step", 8), ("epoch", 2), ("end", 2),
    ]  # fmt: skip


def test_several_and_plain_functions_beside_them():
    shared = []
    run(
        tiny(),
        recipe(epochs=1),
        callbacks=[Callbacks(Diary("a", shared), Diary("b", shared))],
        on_step=lambda row: shared.append(("c", "step", row["step"])),
        on_epoch=lambda epoch, model: shared.append(("c", "epoch", epoch)),
    )
    assert [page[0] for page in shared] == [*"ab", *"abc" * 4, *"abc", *"ab"]


def test_the_mark_is_written_when_it_is_told(tmp_path):
    class Looks(Callback):
        def on_mark(self, share, model):
            written = load_model(tmp_path / f"at{round(100 * share):02d}.safetensors")
            assert torch.equal(weights(written), weights(model))
            self.seen = share

    looks = Looks()
    run(tiny(), recipe(epochs=1), callbacks=[looks], out=tmp_path, save_at=[0.5])
    assert looks.seen == 0.5


def test_who_overrides_nothing_hears_nothing():
    model, alone = tiny(), tiny()
    run(model, recipe(epochs=1), callbacks=[Callback()])
    run(alone, recipe(epochs=1))
    assert torch.equal(weights(model), weights(alone))
