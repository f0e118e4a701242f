"""Manners of the command line: what is wrong is said in flags and files, before the work; how a command ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

import crate_mini
from crate_mini import results
from crate_mini.cli import COMMANDS, completion, doctor, main, parser
from crate_mini.cli import data as data_command
from crate_mini.cli.common import try_file, weights_file
from crate_mini.cli.said import in_flags, sentence
from crate_mini.model import create_model
from crate_mini.weights import list_pretrained, load_pretrained, load_weights, save_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def refused(capsys):
    """What a line is refused with: one sentence on standard error, and nothing else."""

    def says(*line: object) -> str:
        assert main([str(word) for word in line]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("crate-mini: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err

    return says


@pytest.fixture
def refused_later(capsys):
    """As ``refused``, where the command has said what it begins with."""

    def says(*line: object) -> str:
        assert main([str(word) for word in line]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1, err
        return err

    return says


@pytest.fixture
def run(tmp_path):
    """The folder of a training that has ended, of a network of ten numbers, on pictures of one's own."""
    folder = tmp_path / "runs" / "x"
    model = create_model("crate_nano", dim=16, depth=1, heads=2, num_classes=2, image_size=32)
    card = {"data": {"train": "folder/train", "held_out": "folder/val"}, "recipe": {}}
    save_model(model, folder / "model.safetensors", card, classes=("dark", "light"))
    return folder


class TestRanges:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("evaluate heads --batch-size 0", "--batch-size must be at least 1, got 0"),
            ("evaluate heads --random 0", "--random must be at least 1, got 0"),
            (
                "evaluate heads --random 2 --data embedded --n 2",
                "--random must be at least 6 for a network of 6 heads",
            ),
            ("evaluate --n 0", "--n must be at least 1, got 0"),
            ("evaluate --n many", "--n must be a whole number, got 'many'"),
            ("evaluate --seed -1", "--seed must be at least 0, got -1"),
            ("evaluate --image-size 1000000", "--image-size must be at most 4,096, got 1000000"),
            ("evaluate segmentation --share 60", "--share must lie in (0, 1], got 60"),
            ("evaluate segmentation --share nan", "--share must lie in (0, 1], got nan"),
            ("evaluate segmentation --heads -1", "--heads must be at least 0, got -1"),
            ("evaluate maskcut --tau 1", "--tau must lie in [0, 1), got 1"),
            ("evaluate maskcut --n-masks 0", "--n-masks must be at least 1, got 0"),
            ("evaluate transfer --l2 0", "--l2 must be positive, got 0"),
            ("evaluate transfer --epochs 1.5", "--epochs must be a whole number, got '1.5'"),
            ("layerwise --lam -1", "--lam must not be negative, got -1"),
            ("layerwise --eps-sq inf", "--eps-sq must be positive, from 1e-12 to 1e12, got inf"),
            ("layerwise --eps-sq 1e300", "--eps-sq must be positive, from 1e-12 to 1e12, got 1e300"),
            ("evaluate maskcut --image-size 8 --n 1", "--image-size must be"),
            ("evaluate --weights=", "unknown weights ''; the package has"),
            ("evaluate --n 1 --out=", "--out must name a file or folder, got ''"),
            ("evaluate --data folder --root=", "--root must name a file or folder, got ''"),
            ("train --out=", "--out must name a file or folder, got ''"),
            ("inspect  --size 8", "are required: photos"),
            (
                "evaluate transfer --data embedded --n 2 --n-train 2",
                "too few to learn from; give at least 10",
            ),
            ("inspect x.jpg --size 0", "--size must be at least 1, got 0"),
            ("import x.pth --heads 0", "--heads must be at least 1, got 0"),
            ("data embedded --image-size 0", "--image-size must be at least 1, got 0"),
            ("train --batch-size 1.5 --out x", "--batch-size must be a whole number, got '1.5'"),
            ("train --lr fast --out x", "--lr must be a number, got 'fast'"),
            ("train --workers -1 --out x", "--workers must be at least 0, got -1"),
            ("train --workers 100000 --stream --out x", "--workers must be at most"),
            ("train --save-at 1 --out x", "--save-at must lie in [0, 1), got 1"),
        ],
    )
    def test_flags(self, line, message, refused, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert message in refused(*line.split())
        assert not list(tmp_path.iterdir())  # nothing was begun

    @pytest.mark.parametrize(
        "setting",
        [
            "epochs=0",
            "batch_size=0",
            "lr=0",
            "keep_patches=2",
            "label_smoothing=1",
            "precision=half",
            "optimizer=sgd",
        ],
    )
    def test_recipe(self, setting, refused, tmp_path):
        """By flag or by --set, with a recipe or without: the flag is named, and nothing is begun."""
        name, _, value = setting.partition("=")
        flag = f"--{name.replace('_', '-')}"
        for line in ([flag, value], ["--set", setting], ["--recipe", "animals", "--set", setting]):
            assert re.search(rf"{flag}\b.* must ", refused("train", "--out", tmp_path / "x", *line))
            assert not (tmp_path / "x").exists()

    def test_every_number_of_every_command_has_a_type_of_ours(self):
        """So that a range, or what is no number, is said in one way."""
        for path, command in completion._parsers(parser(), ""):
            for action in command._actions:
                assert action.type not in (int, float), f"{path} {action.option_strings}"

    @pytest.mark.parametrize(
        "kind", ["accuracy", "segmentation", "maskcut", "heads", "reading", "transfer", "layerwise"]
    )
    @pytest.mark.parametrize(("size", "take"), [(33, "32 or 40"), (5, "8")])
    def test_a_size_that_patches_do_not_fill(self, kind, size, take, refused, run, pictures):
        line = ["layerwise"] if kind == "layerwise" else ["evaluate", kind]
        line += ["--weights", run, "--data", "folder", "--root", pictures, "--image-size", size]
        told = f"--image-size must be a multiple of 8, the patch of {run}, got {size}; take {take}\n"
        assert refused(*line).endswith(told)


def photo_of(pictures: Path) -> Path:
    return pictures / "val" / "dark" / "0.png"


class TestWhatIsReadIsNotWrittenOver:
    """A photo, weights, their card: what a command reads stays what it is."""

    def test_a_photo(self, refused, pictures, run):
        photo = photo_of(pictures)
        before = photo.read_bytes()
        line = ["inspect", photo, "--weights", run, "--compare=", "--out"]
        assert f"--out {photo} is a file that is read here; name another" in refused(*line, photo)
        (link := pictures / "link.html").symlink_to(photo)
        assert "is a file that is read here" in refused(*line, link)
        assert photo.read_bytes() == before

    @pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
    @pytest.mark.parametrize("by", ["folder", "file"])
    def test_weights_and_their_card(self, refused, pictures, run, name, by):
        before = (run / name).read_bytes()
        weights = run if by == "folder" else run / "model.safetensors"
        line = ["evaluate", "--weights", weights, "--data", "folder", "--root", pictures, "--dirty", "--out"]
        assert f"{run / name} is a file that is read here" in refused(*line, run / name)
        assert "is a file that is read here" in refused(
            "inspect", photo_of(pictures), "--weights", weights, "--out", run / name
        )
        assert (run / name).read_bytes() == before

    def test_what_is_imported_and_what_a_choice_is_taken_from(self, refused, tmp_path):
        state = tmp_path / "theirs.pth"
        torch.save({"a": torch.zeros(2)}, state)
        assert "is a file that is read here" in refused("import", state, "--out", state)
        (earlier := tmp_path / "earlier.json").write_text("{}")
        line = ["evaluate", "segmentation", "--choice-from", earlier, "--out", earlier]
        assert "earlier.json is" in refused(*line)
        assert earlier.read_text() == "{}"


class TestClasses:
    def test_one_class_is_nothing_to_learn(self, refused_later, pictures, tmp_path):
        for split in ("train", "val"):
            shutil.rmtree(pictures / split / "light")
        told = refused_later(
            "train", "--model", "crate_nano", "--data", "folder", "--root", pictures, "--out", tmp_path / "x"
        )
        assert (
            "'folder/train' has one class, and nothing to tell it from; add another, or learn without labels"
            in told
        )

    def test_a_class_that_training_has_not_is_named(self, refused_later, pictures, tmp_path):
        shutil.copytree(pictures / "val" / "light", pictures / "val" / "grey")
        told = refused_later(
            "train", "--model", "crate_nano", "--data", "folder", "--root", pictures, "--out", tmp_path / "x"
        )
        assert "'folder/train' and 'folder/val' must have the same classes" in told
        assert told.endswith("they differ in grey\n")

    def test_a_root_that_is_no_folder(self, refused, pictures):
        line = ["evaluate", "--data", "folder", "--root"]
        photo = photo_of(pictures)
        assert f"{photo} is a file: name the folder that it is in" in refused(*line, photo)
        assert f"It is there if the root is {pictures}: name that." in refused(
            *line, pictures / "train", "--split", "train"
        )
        assert "name the folder that holds the set as root or in" in refused(*line, pictures / "no")


def test_a_photo_that_cannot_be_cut_is_named(refused, tmp_path, run):
    Image.new("RGB", (2, 300)).save(tmp_path / "thin.png")
    told = refused(
        "inspect", tmp_path / "thin.png", "--weights", run, "--compare=", "--out", tmp_path / "h.html"
    )
    assert f"{tmp_path / 'thin.png'}: an image of 2x300 pixels is too long and thin" in told
    assert not (tmp_path / "h.html").exists()


class TestNumbersThatOverflow:
    """Weights that are finite, and what is computed with them is not: no order of NaN passes for a measurement."""

    @pytest.fixture
    def overflows(self, run, pictures):
        model = load_weights(run / "model.safetensors")
        model.blocks[0].attention.project.weight.data *= 1e30
        save_model(model, run / "model.safetensors", classes=("dark", "light"))
        return ["--weights", str(run), "--device", "cpu"], str(pictures)

    @pytest.mark.parametrize(
        ("kind", "told"),
        [
            ("evaluate accuracy", "logits of 'folder/val' are not finite: numbers overflow"),
            ("evaluate reading", "12 logits are NaN|24 of 24 logits are NaN"),
            ("evaluate transfer", "features of 24 of 24 images are not finite"),
            ("layerwise", "not finite|NaN or infinite"),
        ],
    )
    def test_on_pictures(self, kind, told, overflows, refused):
        line, pictures = overflows
        of = ["--data", "folder", "--root", pictures, "--split", "val", "--image-size", "32"]
        assert re.search(told, refused(*kind.split(), *of, *line))

    @pytest.mark.parametrize("kind", ["heads --random 3", "segmentation --no-control", "maskcut"])
    def test_on_masks(self, kind, overflows, refused):
        told = refused("evaluate", *kind.split(), "--n", "2", "--image-size", "32", *overflows[0])
        assert re.search("not finite|must be finite|NaN cannot be ranked", told)


class TestDevices:
    @pytest.mark.parametrize("command", ["train --out x", "evaluate", "evaluate segmentation", "layerwise"])
    def test_no_gpu(self, command, refused, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        told = refused(*command.split(), "--device", "cuda")
        assert re.search(
            r"--device must be there, but this PyTorch (is built without CUDA|finds no NVIDIA GPU)", told
        )
        assert "leave it out to use the best there is, cpu" in told
        assert "--device must be cpu, cuda," in refused(*command.split(), "--device", "gpu")
        assert "no Apple GPU" in refused(*command.split(), "--device", "mps")

    def test_a_gpu_too_many(self, refused, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert "cuda:0 to cuda:1; got cuda:2" in refused("evaluate", "--device", "cuda:2")


class TestOut:
    COMMANDS = (
        "evaluate",
        "evaluate segmentation",
        "evaluate maskcut",
        "evaluate heads",
        "evaluate reading",
        "evaluate transfer",
        "layerwise",
        "data embedded",
        "inspect photo.png",
        "import weights.pth",
    )

    @pytest.mark.parametrize("command", COMMANDS)
    def test_is_tried_before_the_work(self, command, refused, monkeypatch, tmp_path):
        """Before weights or images are even looked for."""
        monkeypatch.chdir(tmp_path)
        Image.new("RGB", (40, 40)).save("photo.png")
        Path("file").write_text("x")
        Path("folder").mkdir()
        line = (*command.split(), "--out")
        assert "--out folder is a folder; name a file, such as folder/result.json" in refused(*line, "folder")
        assert "--out: cannot write to file: it is a file, not a folder" in refused(*line, "file/x.json")
        assert "--out: cannot write to file/a: a part of this path is a file" in refused(
            *line, "file/a/x.json"
        )
        if hasattr(os, "mkfifo"):
            os.mkfifo("pipe")
            assert "--out: cannot write to pipe: it is a device or a pipe, and no file" in refused(
                *line, "pipe"
            )
        if Path("/proc/self").exists():  # where nobody can write, not even root
            assert "--out: cannot write to /proc/self: " in refused(*line, "/proc/self/x.json")

    def test_numbers_that_nobody_could_make_again(self, refused, monkeypatch, tmp_path):
        """Of code that was changed since the last commit; this, too, is said before the work."""
        monkeypatch.delenv(results.DIRTY)
        monkeypatch.setattr(results, "commit", lambda: "0123456789ab+")
        line = ("evaluate", "--weights", "nobody", "--out", tmp_path / "x.json")
        assert "commit first, or say --dirty" in refused(*line)
        assert "unknown weights" in refused(*line, "--dirty")

    def test_of_a_training(self, refused, tmp_path):
        (tmp_path / "file").write_text("x")
        assert "--out: cannot write to" in refused("train", "--out", tmp_path / "file")
        assert "a part of this path is a file" in refused("train", "--out", tmp_path / "file" / "a" / "b")
        assert (tmp_path / "file").read_text() == "x"

    def test_makes_folders_and_leaves_nothing_in_them(self, tmp_path):
        try_file(tmp_path / "a" / "b" / "result.json")
        assert list((tmp_path / "a" / "b").iterdir()) == []


class TestWeights:
    def test_unknown(self, refused):
        told = refused("evaluate", "--weights", "crate_mini_animals_s")
        assert "unknown weights 'crate_mini_animals_s'; did you mean crate_mini_animals_s0?" in told
        assert all(name in told for name in list_pretrained())

    def test_folder(self, run, refused, tmp_path):
        assert weights_file(str(run)) == run / "model.safetensors"
        (run / "model.safetensors").unlink()
        told = refused("evaluate", "--weights", run)
        assert f"{run} is a folder without model.safetensors; no training ended there" in told
        (run / "state.safetensors").touch()
        assert "its training has not ended" in refused("layerwise", "--weights", run)
        told = refused("evaluate", "--weights", tmp_path / "y")
        assert f"there are no weights at {tmp_path / 'y'}" in told
        assert "crate_mini_animals_s0" not in told

    def test_another_kind_of_file(self, refused, tmp_path):
        (tmp_path / "crate.pth").touch()
        assert "crate-mini import makes one" in refused("evaluate", "--weights", tmp_path / "crate.pth")

    def test_data_are_those_of_the_weights(self, run, pictures, tmp_path, capsys, refused):
        """What was held out in their training, at their size, and a line that says so; or what the flags say."""
        assert "trained on a folder of images; say where it is: --root" in refused(
            "evaluate", "--weights", run
        )
        out = tmp_path / "r.json"
        line = [
            "evaluate",
            "--weights",
            str(run),
            "--root",
            str(pictures),
            "--out",
            str(out),
            "--device",
            "cpu",
        ]
        assert main(line) == 0
        told = capsys.readouterr().err
        assert f"images: folder/val, held out when {run} was trained; --data names others" in told
        found = json.loads(out.read_text())
        assert (found["data"], found["image_size"]) == ("folder/val", 32)
        assert main([*line, "--data", "folder", "--split", "train", "--image-size", "16"]) == 0
        assert "held out" not in capsys.readouterr().err
        found = json.loads(out.read_text())
        assert (found["data"], found["image_size"]) == ("folder/train", 16)

    def test_the_last_split_that_a_folder_has(self, pictures, tmp_path):
        """Of other weights, too: train looks for val, and evaluate does not insist on test."""
        out = tmp_path / "r.json"
        weights = tmp_path / "w.safetensors"
        save_model(
            create_model("crate_nano", dim=16, depth=1, heads=2, num_classes=2),
            weights,
            classes=("dark", "light"),
        )
        line = [
            "evaluate",
            "--weights",
            str(weights),
            "--data",
            "folder",
            "--root",
            str(pictures),
            "--device",
            "cpu",
        ]
        assert main([*line, "--image-size", "32", "--out", str(out)]) == 0
        assert json.loads(out.read_text())["data"] == "folder/val"

    def test_weights_that_do_not_say(self, tmp_path, refused):
        weights = tmp_path / "w.safetensors"
        save_model(load_pretrained("crate_nano_embedded"), weights)
        assert "does not say which data set it was trained on; name one by --data" in refused(
            "evaluate", "--weights", weights
        )


class TestOwnFiles:
    def test_photos_that_are_not_there(self, refused, tmp_path):
        Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
        told = refused("inspect", tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "x.html")
        assert f"there is no file {tmp_path / 'b.png'}; name photos that are there" in told

    def test_folder_one_too_deep(self, pictures, refused, tmp_path):
        """mine/train in place of mine: the file that was looked for is named."""
        told = refused("train", "--data", "folder", "--root", pictures / "train", "--out", tmp_path / "x")
        assert str(pictures / "train" / "train") in told
        assert not re.search(r"root=|download=", told)

    def test_missing_sets_are_asked_for_by_flags(self, refused, tmp_path):
        told = refused("evaluate", "--data", "pets", "--root", tmp_path)
        assert "CRATE_MINI_DATA" in told
        assert not re.search(r"root=|download=|=True|\w+\(\)", told)

    @pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are UTF-8 there")
    def test_a_name_that_is_no_text(self, pictures, tmp_path, capsys):
        shutil.copytree(pictures, tmp_path / "mine")
        for split in ("train", "val"):
            os.rename(
                tmp_path / "mine" / split / "dark", os.fsencode(tmp_path / "mine" / split) + b"/d\xe4rk"
            )
        line = [
            "train",
            "--data",
            "folder",
            "--root",
            str(tmp_path / "mine"),
            "--out",
            str(tmp_path / "x"),
            *("--model", "crate_nano", "--image-size", "16", "--device", "cpu"),
        ]
        assert main([*line, "--rehearse"]) == 0  # a rehearsal does not look at it
        assert main([*line, "--epochs", "1"]) == 2
        assert "Traceback" not in capsys.readouterr().err


FLAGS = {
    flag.strip("-").replace("-", "_"): flag
    for flag in ("--n", "--root", "--download", "--batch-size", "--lr")
} | {"heads": "--set heads", "head_dim": "--set head_dim"}


class TestSaid:
    @pytest.mark.parametrize(
        ("message", "told"),
        [
            ("batch_size must be at least 1, got 0", "--batch-size must be at least 1, got 0"),
            ("epochs, batch_size and lr must be positive", "epochs, --batch-size and --lr must be positive"),
            ("pass download=True, or root=...", "pass --download, or --root"),
            ("take fewer (n=8)", "take fewer (--n 8)"),
            ("2 processes cannot share a batch_size of 3", "2 processes cannot share a --batch-size of 3"),
            ("no file at /data/root=x/batch_size/n=3.png", "no file at /data/root=x/batch_size/n=3.png"),
            ("the root of the matter must be n", "the --root of the matter must be n"),
            ("lr is what it is", "lr is what it is"),
            ("not into heads=5; give head_dim", "not into --set heads=5; give --set head_dim"),
            ("head_dim must be positive", "--set head_dim must be positive"),
        ],
    )
    def test_arguments_become_flags(self, message, told):
        assert in_flags(message, FLAGS) == told

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
                  torch.cuda.OutOfMemoryError("CUDA out of memory.")],
    )  # fmt: skip
    def test_memory(self, error):
        told = sentence(error, FLAGS)
        assert told == "there is not enough memory for this; try a smaller --batch-size or --n"
        assert sentence(error) == "there is not enough memory for this; ask for less"

    def test_what_is_our_fault_keeps_its_traceback(self, monkeypatch):
        assert sentence(TypeError("x")) is None
        assert sentence(RuntimeError("x")) is None

        def broken(*_):
            raise KeyError("our fault")

        monkeypatch.setattr(data_command.data, "data_root", broken)
        with pytest.raises(KeyError):
            main(["data"])

    def test_memory_that_is_not_there(self, monkeypatch, refused):
        def greedy(*_, **__):
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

        monkeypatch.setattr(data_command.data, "load", greedy)
        assert "not enough memory for this; try a smaller --image-size" in refused(
            "data", "embedded", "--out", "x.png"
        )

    def test_warnings_are_notes(self, monkeypatch, capsys):
        def warns(*_):
            warnings.warn("say heads=6 or heads=12", stacklevel=2)
            return Path("nowhere")

        monkeypatch.setattr(data_command.data, "data_root", warns)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            main(["data"])
        assert capsys.readouterr().err == "crate-mini: say heads=6 or heads=12\n"


class TestEnds:
    """The table of exit codes in the command's docstring."""

    def test_stopped(self, monkeypatch, capsys):
        def stopped(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(data_command.data, "data_root", stopped)
        assert main(["data"]) == 130
        assert "run the same command again" in capsys.readouterr().err

    def test_usage(self, refused):
        assert "there is no 'evaluat'; did you mean evaluate? It is one of train, evaluate, " in refused(
            "evaluat"
        )
        assert "see crate-mini --help" in refused("evaluat")
        told = refused("evaluate", "heads", "--batchsize", "3")
        assert (
            "there is no --batchsize; did you mean --batch-size? (see crate-mini evaluate heads --help)"
            in told
        )
        assert "there is no 'voc2021'; did you mean voc2012? It is" in refused(
            "evaluate", "--data", "voc2021"
        )
        assert "there is no 'simdin'; did you mean simdino?" in refused(
            "train", "--task", "simdin", "--out", "x"
        )
        assert "there is no 'zzz'; it is one of accuracy" in refused("evaluate", "zzz")
        # the value of a misspelt flag is no kind of evaluation; the flag is the mistake
        assert "there is no --wieghts; did you mean --weights?" in refused("evaluate", "--wieghts", "x")
        assert "there is no --ot; did you mean --out?" in refused("export", "--ot=m.onnx")
        assert "required: --out" in refused("export", "--weights", "x")
        assert "there is no x, y (see crate-mini layerwise --help)" in refused("layerwise", "x", "y")
        assert "required: command" in refused()

    def test_a_pipe_that_is_gone(self):
        """``crate-mini completion bash | head -1``, but for the buffer: a pipe that nobody reads any more."""
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "crate_mini", "completion", "bash"],
            stdout=write,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (141, b"")

    def test_the_table_is_in_the_book(self):
        from crate_mini import cli

        page = (ROOT / "book" / "how_to_run.md").read_text(encoding="utf-8")
        for code in re.findall(r"^(\d+) ", cli.__doc__, re.MULTILINE):
            assert f"| `{code}` |" in page

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as end:
            main(["--version"])
        assert end.value.code == 0
        assert capsys.readouterr().out == f"crate-mini {crate_mini.__version__}\n"

    def test_every_command_is_in_the_book(self):
        page = (ROOT / "book" / "how_to_run.md").read_text(encoding="utf-8")
        for command in COMMANDS:
            assert f"| `crate-mini {command}" in page


class TestChoiceFrom:
    @pytest.mark.parametrize(
        "content",
        [[1], {}, {"segmentation": None}, {"segmentation": {}}, {"segmentation": {"rules": {"auroc": 1}}}],
    )
    def test_another_file(self, content, refused, tmp_path):
        """Refused before the work, also where it has a key of that name."""
        (tmp_path / "other.json").write_text(json.dumps(content))
        told = refused("evaluate", "segmentation", "--choice-from", tmp_path / "other.json", "--n", "2")
        assert "other.json is no --out file of crate-mini evaluate segmentation" in told

    def test_no_file(self, refused, tmp_path):
        told = refused("evaluate", "segmentation", "--choice-from", tmp_path / "none.json")
        assert f"{tmp_path / 'none.json'}: no such file or directory" in told


class TestJson:
    def test_in_place_of_the_table(self, run, pictures, capsys, tmp_path):
        line = ["--weights", str(run), "--root", str(pictures), "--device", "cpu", "--json"]
        for command, key in (
            ("evaluate", "accuracy"),
            ("evaluate reading", "reading"),
            ("layerwise", "layers"),
        ):
            out = tmp_path / f"{key}.json"
            assert main([*command.split(), *line, "--out", str(out)]) == 0
            printed = capsys.readouterr().out
            assert json.loads(printed)[key]
            assert printed == out.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("kind", "key"), [("segmentation", "segmentation"), ("heads", "heads"), ("maskcut", "by_layer")]
    )
    def test_of_what_has_masks(self, kind, key, run, capsys):
        line = [
            "evaluate",
            kind,
            "--weights",
            str(run),
            "--n",
            "4",
            "--image-size",
            "32",
            "--device",
            "cpu",
            "--json",
        ]
        assert main([*line, *(["--random", "3"] if kind == "heads" else [])]) == 0
        assert json.loads(capsys.readouterr().out)[key]

    def test_few_images(self, run, pictures, capsys):
        """Too few for a calibration, not for the rest."""
        line = [
            "evaluate",
            "transfer",
            "--weights",
            str(run),
            "--data",
            "folder",
            "--root",
            str(pictures),
            "--split",
            "val",
        ]
        assert main([*line, "--image-size", "32", "--json", "--device", "cpu"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["images"] == 12
        assert "calibration" not in found

    @pytest.mark.parametrize("wish", ["FORCE_COLOR", "NO_COLOR"])
    def test_no_colours(self, run, pictures, monkeypatch, capfd, wish):
        """Whatever is wished, nothing but text is printed."""
        monkeypatch.setenv(wish, "1")
        assert main(["evaluate", "--weights", str(run), "--root", str(pictures)]) == 0
        told = capfd.readouterr()
        assert "\x1b[3" not in told.out + told.err
        assert told.out.startswith("top-1 ")


class TestDoctor:
    def test_this_machine(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setenv("CRATE_MINI_DATA", str(tmp_path))
        (tmp_path / "weizmann-horse").mkdir()
        ended = main(["doctor"])
        told = capsys.readouterr().out
        assert ended == int("BAD" in told)
        for what in ("Python", "torch ", "bfloat16", "compiler", "disk", "browser", "GB free"):
            assert what in told
        assert re.search(r"data folder +.*\(CRATE_MINI_DATA\)", told)
        assert re.search(r"data sets +embedded, embedded-pairs, embedded-kinds, horses$", told, re.MULTILINE)
        main(["doctor", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert {f["state"] for f in found} <= set(doctor.SIGNS)

    def test_what_is_wrong(self, monkeypatch, tmp_path, capsys):
        assert main(["doctor", "--root", str(tmp_path / "nowhere")]) == 1
        assert re.search(r"BAD +data folder +\S+nowhere does not exist", capsys.readouterr().out)
        assert doctor.python((3, 8, 1)).state == "bad"
        monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
        assert doctor.browser().state == "bad"
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        assert doctor.disk(tmp_path / "not" / "there", "disk").said == f"0 GB free at {tmp_path}; make room"
        monkeypatch.setattr(shutil, "which", lambda _: None)
        assert doctor.compiler().state == "note"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (
                "raise OSError('libcudart.so.13: cannot open shared object file')",
                "OSError: libcudart.so.13: cannot",
            ),
            ("import no_such_package", "pip install --force-reinstall no-such-package"),
            ("raise AttributeError('module numpy has no attribute x')", "AttributeError: module numpy"),
        ],
    )
    def test_a_broken_pytorch(self, content, said, tmp_path):
        """The command that is asked then needs none, and names what is wrong."""
        (tmp_path / "torch.py").write_text(content)
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        line = [sys.executable, "-m", "crate_mini", "doctor"]
        done = subprocess.run(line, capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == ""
        assert re.search(rf"BAD +import +torch cannot be imported: .*{re.escape(said)}", done.stdout)
        assert "disk here" in done.stdout

    @pytest.mark.parametrize(
        ("required", "wrong"),
        [
            ("torch>=1.0", []),
            ("torch>=99", ["torch"]),
            ("torch", []),
            ("no-such-package>=1; python_version > '3'", ["no-such-package"]),
            ("no-such-package>=1; extra == 'test'", []),
        ],
    )
    def test_versions(self, required, wrong):
        found = list(doctor.versions([required]))
        assert [f.what for f in found if f.state == "bad"] == wrong

    @pytest.mark.parametrize(("a", "b"), [("2.4", "2.15.0+cpu"), ("2.9.1", "2.10"), ("1", "1.0.1")])
    def test_numbers(self, a, b):
        assert doctor._numbers(a) < doctor._numbers(b)
        assert doctor._numbers("2.4.0") == doctor._numbers("2.4")


class TestCompletion:
    @pytest.fixture(scope="class")
    def complete(self, tmp_path_factory):
        """What bash offers for a line."""
        script = tmp_path_factory.mktemp("completion") / "crate-mini.bash"
        script.write_text(completion.script(parser()))

        def offered(*words: str) -> list[str]:
            line = " ".join(f"'{word}'" for word in ("crate-mini", *words))
            code = (
                f"source '{script}'; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _crate_mini; "
                "printf '%s\\n' \"${COMPREPLY[@]}\""
            )
            done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
            return done.stdout.split()

        return offered

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["ev"], ["evaluate"]),
            (["evaluate", "seg"], ["segmentation"]),
            (["evaluate", "segmentation", "--ch"], ["--choose-on", "--choice-from"]),
            (["train", "--data", "tiny-imagenet-a"], ["tiny-imagenet-animals"]),
            (
                ["train", "--data", "embedded", "--sweep", "all_"],
                ["all_classes"],
            ),
            (["data", "hor"], ["horses"]),
            (["evaluate", "--n", "5", "heads", "--by", "at"], ["attention"]),
            (["inspect", "nothing"], []),
        ],
    )
    def test_offers(self, complete, words, expected):
        assert complete(*words) == expected

    def test_prints_the_script(self, capsys):
        assert main(["completion", "bash"]) == 0
        current = capsys.readouterr().out == completion.script(parser())
        assert current, "a command, a flag or a choice is new: run python -m crate_mini.cli.completion"
