"""Where the class token reads: cutting it off from a layer's attention, and what that costs."""

from __future__ import annotations

import json

import pytest
import torch

from crate_mini import cli
from crate_mini.data import ImageSet, load
from crate_mini.heads import named_right
from crate_mini.model import create_model
from crate_mini.reading import not_reading, right_without_reading
from crate_mini.recorder import record


@pytest.fixture(params=["crate_nano", "vit_nano"])
def model(request):
    torch.manual_seed(0)
    return create_model(request.param, dim=24, heads=3, depth=3, image_size=16, num_classes=4).eval()


def pictures(labels: list[int]) -> ImageSet:
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (len(labels), 3, 16, 16), generator=g, dtype=torch.uint8)
    return ImageSet(images=images, labels=torch.tensor(labels), name="made")


def test_the_class_token_passes_the_layer_by_and_all_others_do_not(model):
    images = pictures([0, 1, 2]).images
    names = ("tokens_in", "tokens_mid")
    plain = record(model, images, names)
    with not_reading(model, [1]):
        cut = record(model, images, names)
    assert torch.equal(cut["tokens_mid"][1][:, 0], cut["tokens_in"][1][:, 0])
    assert torch.equal(cut["tokens_mid"][1][:, 1:], plain["tokens_mid"][1][:, 1:])
    assert not torch.allclose(plain["tokens_mid"][1][:, 0], plain["tokens_in"][1][:, 0])
    assert not torch.allclose(cut["logits"], plain["logits"])
    assert torch.equal(record(model, images, names)["logits"], plain["logits"]), "restored"


def test_without_reading_anywhere_all_pictures_are_the_same(model):
    images = pictures([0, 1, 2]).images
    with not_reading(model, range(3)):
        logits = model(images)
    torch.testing.assert_close(logits, logits[:1].expand(3, -1))
    assert not torch.allclose(model(images)[0], model(images)[1])


def test_layers_counted_from_the_end_and_errors_leave_nothing_behind(model):
    images = pictures([0, 1]).images
    with not_reading(model, [2]):
        expected = model(images)
    with not_reading(model, [-1]):
        torch.testing.assert_close(model(images), expected)
    before = model(images)
    with pytest.raises(ValueError, match="layers"), not_reading(model, [0, 3]):
        pytest.fail("there is no layer 3")
    with pytest.raises(KeyError), not_reading(model, [0]):
        raise KeyError
    assert torch.equal(model(images), before)


def test_right_without(model):
    images = pictures([0, 1, 2, 3, 0, 1])
    alone = right_without_reading(model, images, batch_size=4)
    onwards = right_without_reading(model, images, onwards=True)
    assert alone.shape == onwards.shape == (6, 3)
    assert torch.equal(alone[:, 2], onwards[:, 2]), "after the last layer there is none"
    with not_reading(model, [0]):
        assert torch.equal(alone[:, 0], named_right(model, images))
    with not_reading(model, [1, 2]):
        assert torch.equal(onwards[:, 1], named_right(model, images))
    assert torch.equal(right_without_reading(model, images, layers=[-1, 0]), alone[:, [2, 0]])


@pytest.mark.parametrize("labels", [[0, -1], [0, 4], []])
def test_labels_that_are_none_of_the_model(model, labels):
    empty = pictures([0]).subset([])
    with pytest.raises(ValueError, match="'made' must have labels from 0 to 3"):
        right_without_reading(model, pictures(labels) if labels else empty)


def test_command(tmp_path, capsys):
    out = tmp_path / "reading.json"
    command = (
        f"evaluate reading --weights crate_nano_embedded --data embedded --split test --n 40 --out {out}"
    )
    assert cli.main(command.split()) == 0
    found = json.loads(out.read_text())
    images = load("embedded", "test", n=40)
    assert found["images"] == 40
    reading = found["reading"]
    assert len(reading["alone"]) == len(reading["onwards"]) == found_depth()
    everything = reading["onwards"][0][
        0
    ]  # what is left is one answer for all pictures: a tenth of a balanced set
    assert reading["top1"][0] - everything == pytest.approx(1 / len(images.classes), abs=0.05)
    assert f"{reading['top1'][0]:.1%} right" in capsys.readouterr().out
    assert reading["layers"] == list(range(found_depth()))

    assert cli.main(f"{command} --layers -1".split()) == 0
    last = json.loads(out.read_text())["reading"]
    assert last["layers"] == [found_depth() - 1]
    assert last["alone"] == last["onwards"] == reading["alone"][-1:], "after the last there is none"
    assert f"  layer {found_depth() - 1}: " in capsys.readouterr().out
    assert cli.main(f"{command} --layers 9".split()) != 0
    assert "the model has layers 0 to 3; got [9]" in capsys.readouterr().err


def found_depth() -> int:
    from crate_mini.weights import load_pretrained

    return load_pretrained("crate_nano_embedded").config.depth
