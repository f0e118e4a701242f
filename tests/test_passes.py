"""One way to run a model over images: mode, device, graph, batches and weights, and that all who measure take it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crate_mini import attention_maps, calibration, heads, layerwise, maskcut, reading, token_pca, transfer
from crate_mini.data import ImageSet
from crate_mini.model import CRATE, create_model
from crate_mini.passes import batches, evaluating, require_finite, run
from crate_mini.segmentation import evaluate, score_heads, score_images
from crate_mini.weights import CheckpointError, load_model, save_model


def tiny(family: str = "crate") -> CRATE:
    torch.manual_seed(0)
    sizes = {"dim": 24, "heads": 3, "depth": 2, "image_size": 32, "num_classes": 3}
    return create_model(f"{family}_nano", **sizes)


def image_set(n: int = 5) -> ImageSet:
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=g, dtype=torch.uint8)
    masks = torch.zeros(n, 32, 32, dtype=torch.uint8)
    masks[:, 8:24, 8:20] = 1
    return ImageSet(pixels, torch.arange(n) % 3, masks=masks, name="made")


MEASURES = {
    "cls_attention_maps": lambda m, s: attention_maps.cls_attention_maps(m, s.images),
    "head_maps": lambda m, s: heads.head_maps(m, s.images),
    "named_right": lambda m, s: heads.named_right(m, s).float(),
    "right_without": lambda m, s: heads.right_without(m, s).float(),
    "right_without_reading": lambda m, s: reading.right_without_reading(m, s).float(),
    "logits_of": lambda m, s: calibration.logits_of(m, s)[0],
    "features": lambda m, s: transfer.features(m, s.images, pool="both"),
    "patch_features": lambda m, s: token_pca.patch_features(m, s.images)[1],
    "layerwise": lambda m, s: torch.tensor(
        layerwise.curve(layerwise.measure(m, s, normalise="token"), "Rc", "tokens_mid", "token")["mean"]
    ),
    "score_images": lambda m, s: score_images(m, s)["heads/auroc"],
    "score_heads": lambda m, s: score_heads(m, s),
    "evaluate": lambda m, s: evaluate(m, s, untrained=False).values("auroc"),
    "discover": lambda m, s: torch.stack(
        [masks.any(0).float() for masks in maskcut.discover(m, s.images)[1]]
    ),
}


@pytest.fixture(params=MEASURES)
def measure(request):
    return MEASURES[request.param]


class Noisy(nn.Module):
    """A LayerNorm that is itself in evaluation mode and something else in training."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, Z):
        Z = self.norm(Z)
        return Z + torch.randn_like(Z) if self.training else Z


def test_a_model_in_training_mode_is_measured_in_evaluation_mode(measure):
    model, pictures = tiny(), image_set()
    model.encoder.blocks[0].norm1 = Noisy(model.encoder.blocks[0].norm1)
    expected = measure(model.eval(), pictures)
    model.train()
    model.encoder.blocks[1].eval()  # a part that its owner has frozen
    before = [module.training for module in model.modules()]
    assert torch.equal(measure(model, pictures), expected)
    assert [module.training for module in model.modules()] == before


def test_weights_that_are_not_finite_are_refused_by_name(measure):
    model = tiny()
    with torch.no_grad():
        model.blocks[1].feed.D[0, :2] = torch.nan
    message = "encoder.blocks.1.feed.D holds 2 NaN or infinite of 576"
    with pytest.raises(FloatingPointError, match=message):
        measure(model, image_set())


def test_what_is_found_carries_no_graph_and_may_be_learned_from(measure):
    found = measure(tiny(), image_set())
    assert not found.requires_grad
    assert not found.is_inference()


def test_the_mode_comes_back_after_an_error():
    model = tiny().train()

    def fail(batch):
        assert not model.training
        assert not torch.is_grad_enabled()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        run(model, image_set(), fail)
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_batches_are_put_together_in_order(size):
    model, pictures = tiny(), image_set()
    seen = []

    def look(batch):
        seen.append(len(batch))
        return {"first": batch[:, 0, 0, 0], "last": batch[:, 2, -1, -1]}

    found = run(model, pictures, look, batch_size=size)
    assert seen == [min(size, 5 - i) for i in range(0, 5, size)]
    assert torch.equal(found["first"], pictures.images[:, 0, 0, 0])
    assert torch.equal(found["last"], pictures.images[:, 2, -1, -1])
    assert torch.equal(run(model, pictures.images, lambda b: b[:, 0], batch_size=size), pictures.images[:, 0])


def test_images_that_come_in_batches_stay_so():
    parts = [torch.zeros(n, 3, 4, 4) for n in (3, 1, 2)]
    assert [len(batch) for batch in batches(iter(parts), 64)] == [3, 1, 2]


def test_a_pass_leaves_nothing_behind_that_gradients_cannot_use():
    """ISTA keeps the matrix it has formed; a frozen dictionary uses it again where the images have gradients."""
    model = tiny().eval().requires_grad_(False)
    run(model, image_set(), model)
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    model(pictures).sum().backward()
    assert pictures.grad.abs().sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_a_gpu(measure):
    model, pictures = tiny(), image_set()
    expected = measure(model, pictures)
    found = measure(model.cuda(), pictures)
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_bar_is_drawn_only_when_asked_for(capsys, watched):
    run(tiny(), image_set(), lambda b: b[:, 0])
    assert capsys.readouterr().err == ""
    run(tiny(), image_set(), lambda b: b[:, 0], progress=True, desc="looking")
    assert "looking: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (torch.zeros(0, 3, 4, 4), 2, "there are no images"),
        (torch.zeros(3, 4, 4), 2, r"images must be \(n, 3, h, w\), got shape \(3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4), 0, "batch_size must be at least 1, got 0"),
        (iter(()), 2, "there are no images"),
    ],
)
def test_errors(images, size, message):
    with pytest.raises(ValueError, match=message):
        list(batches(images, size))


class TestFinite:
    def test_the_first_is_named_and_the_others_counted(self):
        tensors = {"a": torch.ones(3), "count": torch.arange(3), "b": torch.ones(2, 2), "c": torch.ones(1)}
        require_finite(tensors)
        tensors["b"][1, 1], tensors["c"][0] = -torch.inf, torch.nan
        message = r"mine has weights.*: b holds 1 NaN or infinite of 4 numbers \(and 1 more tensors\)"
        with pytest.raises(FloatingPointError, match=message):
            require_finite(tensors, "mine")

    def test_half_precision_that_overflowed(self):
        with pytest.raises(FloatingPointError, match="w holds 1"):
            require_finite({"w": torch.tensor([7e4]).half()})

    def test_a_file_with_nan_is_not_loaded(self, tmp_path):
        model = tiny()
        with torch.no_grad():
            model.head.bias[1] = torch.inf
        path = save_model(model, tmp_path / "w.safetensors")
        with pytest.raises(
            CheckpointError, match=r"w.safetensors has weights that are not finite: head.bias"
        ):
            load_model(path)

    def test_evaluating_gives_the_device(self):
        with evaluating(tiny()) as device:
            assert device == torch.device("cpu")
