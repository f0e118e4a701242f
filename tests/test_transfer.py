"""Linear probe against scikit-learn, fine-tuning from given weights, calibration against torchmetrics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional.classification import multiclass_calibration_error

from crate_mini import calibration, data
from crate_mini.calibration import (
    SCHEMES,
    calibration_error,
    calibration_floor,
    fit_temperature,
    logits_of,
    reliability,
    report,
)
from crate_mini.cli import main
from crate_mini.data import ImageSet
from crate_mini.model import CRATE, create_model
from crate_mini.training import Recipe, evaluate
from crate_mini.transfer import L2_GRID, adapt, choose_l2, features, fine_tune, fit_probe, linear_probe
from crate_mini.weights import load_pretrained


def small(**settings) -> CRATE:
    torch.manual_seed(0)
    given = {"dim": 32, "heads": 2, "depth": 2, "image_size": 32, "num_classes": 3} | settings
    return create_model("crate_nano", **given).eval()


def colours(n: int, size: int = 32, seed: int = 0, name: str = "colours") -> ImageSet:
    """Three classes that differ in their brightest channel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    images[torch.arange(n), labels] += 90
    return ImageSet(images=images, labels=labels, classes=("red", "green", "blue"), name=name)


class TestFeatures:
    def test_class_token_is_what_the_head_reads(self):
        model, images = small(), colours(5).images
        assert torch.allclose(model.head(features(model, images)), model(images), atol=1e-6)

    def test_pools(self):
        model, images = small(), colours(5).images
        Z = model.tokens(images)
        for block in model.blocks:
            Z = block(Z)
        mean = model.norm(Z)[:, 1:].mean(1)
        assert torch.allclose(features(model, images, pool="mean"), mean, atol=1e-6)
        both = features(model, images, pool="both", batch_size=2)
        assert torch.allclose(both, torch.cat([features(model, images), mean], -1), atol=1e-6)

    def test_other_sizes_mode_and_gradients(self):
        model = small().train()
        x = features(model, colours(2, size=48).images)
        assert x.shape == (2, 32)
        assert model.training
        assert not x.requires_grad
        with pytest.raises(ValueError, match="pool must be one of class, mean, both, got 'max'"):
            features(model, colours(2).images, pool="max")


class TestProbe:
    @pytest.mark.parametrize(("n", "d", "c", "l2"), [(60, 5, 3, 1e-2), (40, 50, 4, 1e-3), (80, 3, 2, 1.0)])
    def test_is_scikit_learns_logistic_regression(self, n, d, c, l2):
        """The same standardised features, C = 1 / (n l2); two classes of a softmax count as scikit-learn's one
        difference of weights with half the penalty.
        """
        generator = torch.Generator().manual_seed(n)
        x = 3 + 2 * torch.randn(n, d, generator=generator, dtype=torch.float64)
        y = torch.randint(0, c, (n,), generator=generator)
        y[:c] = torch.arange(c)
        probe = fit_probe(x, y, c, l2=l2)
        standard = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
        strength = 1 / (n * l2) * (2 if c == 2 else 1)
        other = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(standard, y.numpy())
        expected = torch.tensor(other.predict_proba(standard))
        assert (probe(x).softmax(-1) - expected).abs().max() < 1e-5

    def test_gradient_is_zero_at_the_minimum(self):
        x, y = torch.randn(50, 8, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 4
        probe = fit_probe(x, y, 4, l2=1e-3)
        weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
        standard = (x.double() - probe.mean) / probe.std
        loss = F.cross_entropy(standard @ weight.T + bias, y) + 0.5 * 1e-3 * weight.square().sum()
        for gradient in torch.autograd.grad(loss, (weight, bias)):
            assert gradient.abs().max() < 1e-5

    def test_the_start_does_not_matter(self):
        x, y = torch.randn(50, 8, generator=torch.Generator().manual_seed(2)), torch.arange(50) % 4
        cold = fit_probe(x, y, 4, l2=1e-2)
        warm = fit_probe(x, y, 4, l2=1e-2, start=fit_probe(x, y, 4, l2=1.0))
        assert torch.allclose(cold.weight, warm.weight, atol=1e-4)

    def test_constant_feature_and_unseen_class(self):
        x = torch.randn(30, 4, generator=torch.Generator().manual_seed(3))
        x[:, 2] = 7.0
        logits = fit_probe(x, torch.arange(30) % 2, 3)(x)
        assert torch.isfinite(logits).all()
        assert not (logits.argmax(-1) == 2).any()

    @pytest.mark.parametrize(
        ("x", "y", "classes", "l2", "message"),
        [
            (torch.randn(4, 2), torch.tensor([0, 1, 2, 5]), 3, 1.0, "labels must lie in 0 to 2, found 0 to 5"),
            (torch.randn(4, 2), torch.tensor([0, 1, -1, 1]), 3, 1.0, "labels must lie in 0 to 2, found -1 to 1"),
            (torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), 2, 0.0, "l2 must be positive"),
            (torch.empty(0, 2), torch.empty(0, dtype=torch.long), 2, 1.0, r"features must be \(n, d\)"),
        ],
    )  # fmt: skip
    def test_errors(self, x, y, classes, l2, message):
        with pytest.raises(ValueError, match=message):
            fit_probe(x, y, classes, l2=l2)

    def test_choice_of_strength(self):
        """Labels that the features do not tell: strong. A thin signal among large noise that they do: weaker."""
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(200, 60, generator=generator), torch.randint(0, 2, (200,), generator=generator)
        noise = choose_l2(x, y, 2)
        w = torch.randn(60, generator=generator)
        signal = choose_l2(x, (x @ w > 0).long(), 2)
        assert noise in L2_GRID
        assert signal < 0.1

    def test_linear_probe(self):
        train_set, test_set = colours(60), colours(30, seed=1)
        probe, result = linear_probe(small(), train_set, test_set, pool="mean")
        assert result["top1"] > 0.9
        assert result["top5"] == 1.0
        assert (result["chance"], result["majority"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
        assert (result["pool"], probe.l2) == ("mean", result["l2"])

    def test_classes_must_agree(self):
        other = ImageSet(
            images=colours(3).images, labels=torch.arange(3), classes=("a", "b", "c"), name="abc"
        )
        with pytest.raises(ValueError, match="'colours' and 'abc' must have the same classes"):
            linear_probe(small(), colours(6), other)


class TestFineTuning:
    def test_adapt_keeps_all_but_the_classifier(self):
        model = small()
        adapted = adapt(model, num_classes=7)
        ours, theirs = adapted.state_dict(), model.state_dict()
        assert adapted.head.out_features == 7
        assert all(torch.equal(v, ours[k]) for k, v in theirs.items() if not k.startswith("head."))

    def test_adapt_to_another_size_is_what_the_model_does_itself(self):
        model = small()
        adapted = adapt(model, num_classes=3, image_size=48)
        adapted.head.load_state_dict(model.head.state_dict())
        images = colours(2, size=48).images
        assert adapted.config.grid == 6
        assert torch.allclose(adapted(images), model(images), atol=1e-6)

    def test_adapt_is_seeded_and_leaves_the_generator_alone(self):
        model = small()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        a, b, c = (adapt(model, num_classes=4, seed=s).head.weight for s in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        with pytest.raises(ValueError, match="not a multiple of patch_size"):
            adapt(model, num_classes=4, image_size=50)

    def test_fine_tune(self, tmp_path):
        model = small(num_classes=9)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        recipe = Recipe(epochs=6, batch_size=16, lr=3e-3, warmup_epochs=1, crop_area=(1.0, 1.0))
        train_set, test_set = colours(64, size=40), colours(30, size=40, seed=1)
        tuned, run = fine_tune(model, train_set, test_set, recipe, out=tmp_path, device="cpu", progress=False)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert (tuned.config.image_size, tuned.classes) == (40, ("red", "green", "blue"))
        assert run["train_loss"][-1] < run["train_loss"][0]
        assert run["val_top1"][-1] > 0.9
        assert evaluate(tuned, test_set)["top1"] == run["val_top1"][-1]
        assert (tmp_path / "model.safetensors").exists()

    def test_square_images_only(self):
        oblong = ImageSet(
            images=torch.zeros(3, 3, 32, 40, dtype=torch.uint8),
            labels=torch.arange(3),
            classes=("a", "b", "c"),
        )
        with pytest.raises(ValueError, match="square images, got 32 x 40"):
            fine_tune(small(), oblong, oblong, Recipe())


def draw(n: int, c: int, seed: int = 0, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn with the probabilities that they state: a model that is calibrated perfectly."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n, c, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


class TestCalibrationError:
    @settings(max_examples=25, deadline=None)
    @given(n=st.integers(1, 200), c=st.integers(2, 12), bins=st.integers(1, 30), seed=st.integers(0, 10**6))
    def test_equal_width_is_that_of_torchmetrics(self, n, c, bins, seed):
        logits, labels = draw(n, c, seed, spread=1.0)
        theirs = multiclass_calibration_error(
            logits.softmax(-1).float(), labels, num_classes=c, n_bins=bins, norm="l1"
        )
        assert calibration_error(logits, labels, bins=bins) == pytest.approx(theirs.item(), abs=2e-6)

    @settings(max_examples=25, deadline=None)
    @given(n=st.integers(30, 200), bins=st.integers(1, 30), seed=st.integers(0, 10**6))
    def test_equal_mass_written_with_numpy(self, n, bins, seed):
        logits, labels = draw(n, 5, seed)
        p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
        order = np.argsort(p.max(1), kind="stable")
        right = p.argmax(1) == labels.numpy()
        expected = sum(
            abs(right[group].mean() - p.max(1)[group].mean()) * len(group) / n
            for group in np.array_split(order, bins)
        )
        assert calibration_error(logits, labels, bins=bins, scheme="mass") == pytest.approx(
            expected, abs=1e-12
        )

    def test_by_hand(self):
        """Two images of confidence 0.75, one right; two of 0.95, both right: (0.25 + 0.05) / 2."""
        p = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.95, 0.05], [0.05, 0.95]], dtype=torch.float64)
        labels = torch.tensor([0, 0, 0, 1])
        for scheme, bins in (("width", 10), ("mass", 2)):
            assert calibration_error(p.log(), labels, bins=bins, scheme=scheme) == pytest.approx(0.15)
        table = reliability(p.log(), labels, bins=10)
        assert table["count"].tolist() == [2, 2]
        assert table["low"].tolist() == pytest.approx([0.7, 0.9])
        assert table["accuracy"].tolist() == [0.5, 1.0]

    def test_certain_images_are_in_the_last_bin(self):
        table = reliability(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]), bins=10)
        assert (table["low"].item(), table["high"].item()) == (pytest.approx(0.9), 1.0)
        assert calibration_error(torch.tensor([[1000.0, 0.0]]), torch.tensor([1])) == 1.0

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_floor(self, scheme):
        """A perfectly calibrated model is at the floor, which falls with the number of images; doubled logits
        are far above it.
        """
        few, _ = draw(200, 5)
        logits, labels = draw(5000, 5)
        floor = calibration_floor(logits, scheme=scheme)
        assert 0 < floor < calibration_floor(few, scheme=scheme)
        assert calibration_error(logits, labels, scheme=scheme) < 2 * floor
        assert calibration_error(2 * logits, labels, scheme=scheme) > 5 * floor

    @pytest.mark.parametrize(
        ("logits", "labels", "kind", "message"),
        [
            (
                torch.zeros(0, 2),
                torch.zeros(0, dtype=torch.long),
                {},
                r"labels \(n,\), got \(0, 2\) and \(0,\)",
            ),
            (torch.zeros(2, 2), torch.tensor([0, -1]), {}, "labels must lie in 0 to 1"),
            (
                torch.zeros(2, 2),
                torch.tensor([0, 1]),
                {"scheme": "equal"},
                "scheme must be one of width, mass",
            ),
            (torch.zeros(2, 2), torch.tensor([0, 1]), {"scheme": "mass"}, "2 images do not fill 15 bins"),
            (torch.zeros(2, 2), torch.tensor([0, 1]), {"bins": 0}, "do not fill 0 bins"),
        ],
    )
    def test_errors(self, logits, labels, kind, message):
        with pytest.raises(ValueError, match=message):
            calibration_error(logits, labels, **kind)


class TestTemperature:
    @pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
    def test_undoes_a_scale(self, scale):
        logits, labels = draw(20_000, 5)
        assert fit_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.03)

    def test_is_the_best_there_is(self):
        logits, labels = draw(300, 4, spread=4.0)
        logits = logits + torch.randn(300, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        best = fit_temperature(logits, labels)
        at = F.cross_entropy(logits / best, labels)
        for factor in (0.99, 1.01, 0.5, 2.0):
            assert F.cross_entropy(logits / (factor * best), labels) > at

    def test_no_best_one(self):
        with pytest.raises(ValueError, match=r"no temperature between .* every image is right"):
            fit_temperature(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        with pytest.raises(ValueError, match="no better than chance"):
            fit_temperature(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([1, 0]))

    def test_report(self):
        """Too sure by a factor 3: the temperature says so, and mends the images it was not fitted on."""
        logits, labels = draw(4000, 5)
        r = report(3 * logits, labels)
        assert r["temperature"] == pytest.approx(3, rel=0.15)
        before, after = r["other_half"]["before"], r["other_half"]["after"]
        assert after["top1"] == before["top1"]
        assert after["nll"] < before["nll"]
        assert after["ece_mass"] < 0.3 * before["ece_mass"]
        assert r["confidence"] > r["top1"]
        assert r["ece_width"] == calibration_error(3 * logits, labels)
        json.dumps(r)

    def test_logits_of_a_set(self):
        model, images = small(), colours(10)
        logits, labels = logits_of(model, images, batch_size=3)
        assert torch.allclose(logits, model(images.images), atol=1e-6)
        assert torch.equal(labels, images.labels)
        accuracy = evaluate(model, images)
        assert calibration._scores(logits, labels, 5)["top1"] == pytest.approx(accuracy["top1"])
        assert calibration._scores(logits, labels, 5)["nll"] == pytest.approx(accuracy["loss"], rel=1e-5)


class TestCommandLine:
    def test_probe(self, tmp_path, capsys):
        out = tmp_path / "probe.json"
        line = [
            "evaluate",
            "transfer",
            "--data",
            "embedded",
            "--n",
            "40",
            "--n-train",
            "80",
            "--device",
            "cpu",
        ]
        assert main([*line, "--pool", "mean", "--out", str(out)]) == 0
        result = json.loads(out.read_text())
        assert (result["weights"], result["data"]) == ("crate_mini_all_lion_s0", "embedded")
        assert (result["images"], result["train_images"], result["untrained"]) == (40, 80, False)
        probe = result["probe"]
        assert probe["pool"] == "mean"
        assert 0 <= probe["chance"] == 0.1 < probe["train_top1"] <= 1
        assert result["calibration"]["images"] == 40
        told = capsys.readouterr().out
        assert f"top-1 {probe['top1']:.1%}" in told
        assert "calibration error" in told
        # by hand
        model = load_pretrained("crate_mini_all_lion_s0")
        train_set, test_set = (data.load("embedded", s, n=n) for s, n in (("train", 80), ("test", 40)))
        _, expected = linear_probe(model, train_set, test_set, pool="mean")
        assert probe["top1"] == pytest.approx(expected["top1"])
        assert math.isclose(probe["l2"], expected["l2"])

    def test_fine_tune(self, tmp_path, capsys):
        out = tmp_path / "tuned.json"
        line = [
            "evaluate",
            "transfer",
            "--method",
            "finetune",
            "--data",
            "embedded",
            "--n",
            "40",
            "--device",
            "cpu",
        ]
        line += ["--n-train", "64", "--epochs", "1", "--folder", str(tmp_path / "run"), "--out", str(out)]
        assert main(line) == 0
        result = json.loads(out.read_text())
        assert result["fine_tune"]["recipe"]["epochs"] == 1
        assert len(result["fine_tune"]["history"]) == 1
        assert result["fine_tune"]["top1"] == result["fine_tune"]["history"][-1]["val_top1"]
        assert (tmp_path / "run" / "model.safetensors").exists()

    def test_a_set_without_training_images(self, capsys):
        assert main(["evaluate", "transfer", "--data", "horses"]) == 2
        assert "'horses' has one split only" in capsys.readouterr().err
