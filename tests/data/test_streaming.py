"""Streams: the same images, the same batches, the same weights as from memory; errors that name the file."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_training as t
import torch
from PIL import Image

from crate_mini import training
from crate_mini.data import DataError, ImageStream, images, load, open_stream, streaming
from crate_mini.data.streaming import Feed, default_workers

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
forked = pytest.mark.skipif(sys.platform != "linux", reason="the workers must be forks of this process")


@pytest.fixture
def root(tmp_path) -> Path:
    """24 training and 10 validation images of two classes, of many sizes."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 5)):
        for name, level in (("dark", 60), ("light", 190)):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(level + rng.normal(0, 30, (17 + i, 23, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:02d}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "set"


def both(root: Path, split: str, workers: int) -> tuple:
    return (
        load("folder", split, root=root, image_size=16),
        open_stream("folder", split, root=root, image_size=16, workers=workers),
    )


def spoil(root: Path) -> Path:
    path = root / "train" / "light" / "05.png"
    path.write_bytes(path.read_bytes()[:100])
    return path


class TestStream:
    def test_holds_what_memory_would(self, root):
        memory, stream = both(root, "train", 0)
        assert (len(stream), stream.shape) == (24, memory.shape)
        assert (stream.classes, stream.files, stream.name) == (memory.classes, memory.files, memory.name)
        for i in (0, 7, 23):
            for key in ("image", "label"):
                assert torch.equal(stream[i][key], memory[i][key])
        assert torch.equal(stream.read().images, memory.images)
        part = stream.subset([5, 2])
        assert part.files == (stream.files[5], stream.files[2])
        assert torch.equal(part[1]["image"], memory.images[2])

    def test_draw_and_classes(self, root):
        one = open_stream("folder", root=root, n=5, seed=3, classes=["light"])
        assert one.files == load("folder", root=root, n=5, seed=3, classes=["light"]).files
        assert one.classes == ("light",)

    def test_nothing_is_read_before_its_turn(self, root):
        spoil(root)
        assert len(open_stream("folder", root=root)) == 24

    def test_damaged_files_are_listed(self, root):
        assert list(open_stream("folder", root=root).damaged()) == []
        path = spoil(root)
        (message,) = open_stream("folder", root=root).damaged()
        assert message.startswith(str(path))

    def test_more_than_the_memory_holds(self, root, monkeypatch):
        monkeypatch.setattr(images.os, "sysconf", lambda _: 200, raising=False)  # 200 pages of 200 bytes
        with pytest.raises(
            DataError, match=r"24 images of 64x64 pixels take .*; take fewer, or smaller ones, or stream them"
        ):
            load("folder", root=root)
        assert len(open_stream("folder", root=root)) == 24
        assert len(load("folder", root=root, image_size=8, n=2)) == 2

    def test_what_cannot_be_streamed(self, root):
        with pytest.raises(
            ValueError, match=r"'embedded' is not made of files .*streams can be: tiny-imagenet"
        ):
            open_stream("embedded")
        with pytest.raises(ValueError, match="workers must be 0 or more, got -1"):
            open_stream("folder", root=root, workers=-1)
        with pytest.raises(ValueError, match=r"2 files need labels of shape \(2,\), got \(3,\)"):
            ImageStream(files=("a", "b"), labels=torch.zeros(3, dtype=torch.long))

    def test_default_workers_leave_a_core(self, monkeypatch):
        cores = (set(range(8)), set(range(64)), {0})
        for here, alone, shared in zip(cores, (7, 16, 0), (3, 16, 0), strict=True):
            monkeypatch.setattr(streaming.os, "sched_getaffinity", lambda _, here=here: here, raising=False)
            monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
            assert default_workers() == alone
            monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
            assert default_workers() == shared


class TestBatches:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_are_those_of_memory(self, root, workers):
        memory, stream = both(root, "train", workers)
        torch.manual_seed(7)
        before = torch.get_rng_state()
        with Feed(memory, CPU) as ours, Feed(stream, CPU) as theirs:
            for seed in (0, 1):  # two epochs: the workers stay
                order = torch.randperm(24, generator=torch.Generator().manual_seed(seed)).view(6, 4)
                pairs = list(zip(ours.batches(order), theirs.batches(order), strict=True))
                assert len(pairs) == 6
                for (a, b), (c, d) in pairs:
                    assert a.dtype == c.dtype == torch.uint8
                    assert torch.equal(a, c)
                    assert torch.equal(b, d)
        assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
        assert multiprocessing.active_children() == []

    @pytest.mark.parametrize("workers", [0, 2])
    def test_error_of_a_worker_names_the_file_and_no_more(self, root, workers):
        path = spoil(root)
        stream = open_stream("folder", root=root, image_size=16, workers=workers)
        with Feed(stream, CPU) as feed, pytest.raises(DataError) as caught:
            list(feed.batches(torch.arange(24).view(6, 4)))
        assert str(caught.value).startswith(f"{path} is not an image that can be read")
        assert "Traceback" not in str(caught.value)
        assert multiprocessing.active_children() == []

    @forked
    def test_worker_that_dies(self, root, monkeypatch):
        monkeypatch.setattr(
            streaming._Decoder, "__getitems__", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        )
        stream = open_stream("folder", root=root, image_size=16, workers=1)
        with (
            Feed(stream, CPU) as feed,
            pytest.raises(DataError, match=r"folder/train: a process .* died .*fewer"),
        ):
            list(feed.batches(torch.arange(24).view(6, 4)))


class TestTraining:
    def train(self, root, workers: int | None, r=None, seed: int = 0, **options):
        """Weights and history; from memory if ``workers`` is None."""
        look = load if workers is None else functools.partial(open_stream, workers=workers)
        sets = [look("folder", split, root=root, image_size=16) for split in ("train", "val")]
        model = t.tiny(seed)
        r = r or t.recipe(epochs=3, keep_patches=0.5)
        history = training.train(model, *sets, r, device="cpu", progress=False, **options)
        return t.weights(model), [{k: v for k, v in row.items() if k != "seconds"} for row in history.history]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_same_weights_and_numbers_as_from_memory(self, root, workers):
        weights, history = self.train(root, None)
        streamed, its_history = self.train(root, workers)
        assert torch.equal(streamed, weights)
        assert its_history == history

    @pytest.mark.parametrize("start", [None, 0])  # begun in memory or as a stream, it goes on as a stream
    def test_resumes_inside_an_epoch_and_reads_only_what_is_left(self, root, tmp_path, monkeypatch, start):
        weights, history = self.train(root, None)
        calls, plain, read = [], training.augment, streaming.read_square

        def interrupted(*args, **kwargs):
            calls.append(1)
            if len(calls) == 5:  # the second step of three in the second epoch
                os.kill(os.getpid(), signal.SIGINT)
            return plain(*args, **kwargs)

        monkeypatch.setattr(training.tasks, "augment", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped in epoch 2, after step 2"):
            self.train(root, start, out=tmp_path / "run")
        files = []
        monkeypatch.setattr(streaming, "read_square", lambda *a: files.append(a[0]) or read(*a))
        resumed, its_history = self.train(root, 0, seed=5, out=tmp_path / "run")
        assert torch.equal(resumed, weights)
        assert its_history == history
        stream = both(root, "train", 0)[1]
        left = training.rng.order_of_epoch(24, 8, 0, 1)[0][2:].flatten().tolist()
        assert files[:8] == [stream.files[i] for i in left]
        assert len(files) == 8 + 24 + 2 * 10

    @forked
    def test_interrupt_that_reaches_the_workers_too(self, root, tmp_path, monkeypatch):
        """Ctrl-C and the end of a job are sent to every process of the group."""
        weights, _ = self.train(root, None)
        plain = training.augment

        def interrupted(*args, **kwargs):
            for process in (*multiprocessing.active_children(), SimpleNamespace(pid=os.getpid())):
                os.kill(process.pid, signal.SIGINT)
            monkeypatch.setattr(training.tasks, "augment", plain)
            return plain(*args, **kwargs)

        monkeypatch.setattr(training.tasks, "augment", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped in epoch 1, after step 1"):
            self.train(root, 2, out=tmp_path / "run")
        assert multiprocessing.active_children() == []
        assert torch.equal(self.train(root, 2, seed=5, out=tmp_path / "run")[0], weights)

    def test_damaged_image(self, root):
        path = spoil(root)
        with pytest.raises(DataError, match=f"{path} is not an image"):
            self.train(root, 0)

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_damaged_image_costs_no_step(self, root, tmp_path, monkeypatch, split):
        weights, history = self.train(root, None)
        path = root / split / "light" / "03.png"
        whole = path.read_bytes()
        path.write_bytes(whole[:100])
        steps, plain = [], training.augment
        monkeypatch.setattr(training.tasks, "augment", lambda *a, **k: steps.append(1) or plain(*a, **k))
        with pytest.raises(DataError, match=rf"^{path} is not an image .*saved in .*run the same again"):
            self.train(root, 0, out=tmp_path / "run")
        path.write_bytes(whole)
        resumed, its_history = self.train(root, 0, seed=5, out=tmp_path / "run")
        assert torch.equal(resumed, weights)
        assert its_history == history
        assert len(steps) == 9, "no step was done twice"

    def test_evaluation(self, root):
        model = t.tiny()
        ours, theirs = (training.evaluate(model, data, batch_size=3) for data in both(root, "val", 0))
        assert ours == theirs

    def test_label_outside_the_classes_names_the_file(self, root):
        data = both(root, "train", 0)[1]
        wrong = replace(data, labels=torch.tensor([0] * 20 + [2] + [1] * 3))
        with pytest.raises(ValueError, match=rf"classes 0 to 1; the first outside is {data.files[20]}"):
            training.train(t.tiny(), wrong, wrong, t.recipe(), progress=False)

    def test_other_classes_in_validation(self, root):
        memory, stream = both(root, "train", 0)
        (root / "val" / "light").rename(root / "val" / "white")
        for data in (memory, stream):
            with pytest.raises(ValueError, match=r"must have the same classes .* differ in light, white"):
                training.train(t.tiny(), data, load("folder", "val", root=root), t.recipe(), progress=False)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "folder"), [("tiny-imagenet-animals", "tiny-imagenet-200"), ("pets", "oxford-iiit-pet")]
)
def test_real_images(data_folder, name, folder):
    if not (data_folder / folder).is_dir():
        pytest.skip(f"{folder} is not among the local data")
    memory, stream = load(name, n=12, image_size=32), open_stream(name, n=12, image_size=32, workers=2)
    with Feed(stream, CPU) as feed:
        images, labels = (
            torch.cat(parts) for parts in zip(*feed.batches(torch.arange(12).view(3, 4)), strict=True)
        )
    assert torch.equal(images, memory.images)
    assert torch.equal(labels, memory.labels)
