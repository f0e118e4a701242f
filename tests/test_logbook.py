"""The live chart and TensorBoard: hooks of a training that keep every number and never get in its way."""

from __future__ import annotations

import builtins
from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import logbook
from crate_mini.data import ImageSet
from crate_mini.logbook import Hook, Hooks, LiveChart, TensorBoardLog, in_notebook
from crate_mini.model import create_model
from crate_mini.training import Recipe, evaluate, train


def brightness(n: int) -> ImageSet:
    labels = torch.arange(n) % 2
    images = torch.randint(
        0, 100, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images += (labels * 120).to(torch.uint8)[:, None, None, None]
    return ImageSet(images=images, labels=labels, classes=("dark", "bright"), name="brightness")


def train_with(hook: Hook, epochs: int = 3):
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=16, heads=2, depth=1, image_size=16, num_classes=2)
    data = brightness(32)
    recipe = Recipe(epochs=epochs, batch_size=8, warmup_epochs=1)
    run = train(model, data, data, recipe, device="cpu", progress=False, on_step=hook, on_epoch=hook)
    return model, run


def row(step: int, **more: float) -> dict:
    return {
        "step": step,
        "epoch": 1,
        "lr": 0.1,
        "train_loss": 1 / (step + 1),
        "images_per_second": 9.0,
    } | more


class Handle:
    """Stands in for IPython's: counts the pictures."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []

    def update(self, picture) -> None:
        self.pictures.append(picture.data)


@pytest.fixture
def shown(monkeypatch) -> Handle:
    """What a notebook would show."""
    import IPython.display

    handle = Handle()

    def display(picture, *, display_id):
        assert display_id is True
        handle.update(picture)
        return handle

    monkeypatch.setattr(IPython.display, "display", display)
    return handle


class TestLiveChart:
    def test_keeps_what_training_tells(self):
        chart = LiveChart(brightness(16))
        model, run = train_with(chart)
        steps, loss = chart.series("train_loss")
        assert steps[-1] == 12
        assert steps == sorted(steps)
        assert all(value > 0 for value in loss)
        steps, top1 = chart.series("val_top1")
        assert steps == [4, 8, 12]  # the ends of the epochs
        assert len(run.history) == 3
        assert top1[-1] == pytest.approx(evaluate(model, brightness(16))["top1"])
        assert chart.series("nothing") == ([], [])

    def test_quiet_outside_of_a_notebook_and_in_the_built_book(self, shown, monkeypatch):
        assert not in_notebook()
        for build, notebook in (("0", False), ("1", True)):
            monkeypatch.setenv("CRATE_MINI_BOOK", build)
            monkeypatch.setattr(logbook, "in_notebook", lambda here=notebook: here)
            chart = LiveChart()
            chart(row(1))
            assert isinstance(chart.figure(), Figure)
        assert shown.pictures == []

    def test_live_in_a_notebook(self, shown, monkeypatch):
        monkeypatch.delenv("CRATE_MINI_BOOK", raising=False)
        monkeypatch.setattr(logbook, "in_notebook", lambda: True)
        chart = LiveChart(seconds=0)
        monkeypatch.setattr(chart, "SHARE", 1e9)
        chart(row(1))
        chart(row(2))
        assert len(shown.pictures) == 2
        assert shown.pictures[0] != shown.pictures[1]
        assert all(p.startswith(b"\x89PNG") for p in shown.pictures)

    def test_throttled(self, shown, monkeypatch):
        """By the clock, here one that is set by hand, and by what drawing takes."""
        now = [100.0]
        monkeypatch.setattr(logbook, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        chart = LiveChart(seconds=3600, live=True)
        for step in range(50):
            chart(row(step))
        assert len(shown.pictures) == 1
        assert len(chart.rows) == 50
        chart.figure()
        assert len(shown.pictures) == 2  # the end is always seen

        slow = LiveChart(seconds=0, live=True)
        draw = slow._draw

        def takes_half_a_second():
            now[0] += 0.5
            return draw()

        monkeypatch.setattr(slow, "_draw", takes_half_a_second)
        slow(row(1))
        for later, pictures in ((109.9, 3), (110.1, 4)):  # half a second is a twentieth of ten
            now[0] = later
            slow(row(2))
            assert len(shown.pictures) == pictures

    def test_figure(self):
        chart = LiveChart(brightness(2))
        for step in range(100):
            chart(row(step))
        waiting = chart.figure()
        assert "after the first epoch" in [t.get_text() for ax in waiting.axes for t in ax.texts]
        chart({"epoch": 1, "val_loss": 0.5, "val_top1": 0.8})
        drawn = chart.figure()
        titles = [ax.get_title() for ax in drawn.axes]
        assert titles == ["loss", "top-1 accuracy", "learning rate", "images a second"]
        assert len(drawn.axes[0].lines[0].get_xdata()) == 100
        assert drawn.axes[1].lines[0].get_ydata().tolist() == [0.8]
        assert not drawn.axes[1].texts

    def test_no_panel_for_an_accuracy_that_nobody_measures(self):
        chart = LiveChart()
        chart(row(1))
        titles = [ax.get_title() for ax in chart.figure().axes]
        assert titles == ["loss", "learning rate", "images a second"]

    def test_training_is_the_same_with_and_without(self):
        watched, _ = train_with(LiveChart(brightness(16)))
        alone, _ = train_with(Hook())
        assert all(torch.equal(v, alone.state_dict()[k]) for k, v in watched.state_dict().items())


class TestTensorBoard:
    def test_writes_the_same_numbers(self, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        chart = LiveChart(brightness(16))
        with TensorBoardLog(tmp_path, brightness(16)) as board:
            train_with(Hooks(chart, board))
        found = EventAccumulator(str(tmp_path)).Reload()
        assert set(found.Tags()["scalars"]) == {
            "training/lr", "training/train_loss", "training/images_per_second", "held_out/loss", "held_out/top1",
        }  # fmt: skip
        for tag, name in (("training/train_loss", "train_loss"), ("held_out/top1", "val_top1")):
            steps, values = chart.series(name)
            events = found.Scalars(tag)
            assert events[-1].step == steps[-1] == 12
            assert [event.value for event in events] == pytest.approx(values)

    def test_without_the_package(self, tmp_path, monkeypatch):
        real = builtins.__import__

        def no_tensorboard(name, *args, **kwargs):
            if "tensorboard" in name:
                raise ImportError("No module named 'tensorboard'")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", no_tensorboard)
        with pytest.raises(ImportError, match=r"pip install tensorboard.*log\.csv"):
            TensorBoardLog(tmp_path)
