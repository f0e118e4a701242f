"""MaskCut: the solver against SciPy's dense one, the rules by hand, what happens at the edges, the command."""

from __future__ import annotations

import json
import signal

import copies
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from crate_mini import data, maskcut
from crate_mini.cli import main
from crate_mini.cli import maskcut as command
from crate_mini.token_pca import patch_features
from crate_mini.weights import load_pretrained


def scene(h: int, w: int, rectangles: list[tuple[int, int, int, int]], *, seed: int = 0, noise: float = 0.6):
    """Features that point one way in the background and another in each rectangle, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(len(rectangles) + 1, 48, generator=generator), dim=-1)
    kind = torch.zeros(h, w, dtype=torch.long)
    for i, (top, left, bottom, right) in enumerate(rectangles, 1):
        kind[top:bottom, left:right] = i
    features = directions[kind.flatten()] + noise / 48**0.5 * torch.randn(h * w, 48, generator=generator)
    return features, kind


def agree(a: torch.Tensor, b: torch.Tensor) -> float:
    """Smallest IoU of masks that stand at the same place."""
    assert a.shape == b.shape
    return min(((x & y).sum() / (x | y).sum()).item() for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    images = data.load("embedded", "test", n=6, seed=3, image_size=160)
    return patch_features(load_pretrained("crate_mini_animals_s0"), images.images, [5])[5]


@pytest.mark.parametrize("grid", [(8, 8), (9, 14), (16, 12)])
def test_finds_the_objects_in_order_of_the_graph(grid):
    h, w = grid
    features, kind = scene(h, w, [(1, 1, h - 2, w // 2 - 1), (2, w // 2 + 1, h - 2, w - 1)])
    masks = maskcut.maskcut(features, grid)
    assert masks.dtype == torch.bool
    assert masks.shape[1:] == grid
    for i in (1, 2):
        best = max(float((m & (kind == i)).sum() / (m | (kind == i)).sum()) for m in masks)
        assert best == 1
    assert int(masks.sum(0).max()) == 1  # they do not overlap


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_same_masks_as_the_dense_solver(seed, noise):
    features, _ = scene(13, 17, [(2, 2, 9, 7), (3, 10, 11, 15)], seed=seed, noise=noise)
    fast = maskcut.maskcut_rounds(features, (13, 17))
    slow = maskcut.maskcut_rounds(features, (13, 17), solver="dense")
    assert [r.dropped for r in fast] == [r.dropped for r in slow]
    for a, b in zip(fast, slow, strict=True):
        assert a.eigenvalue == pytest.approx(b.eigenvalue, abs=2e-6)
        assert agree(a.found[None], b.found[None]) >= 0.99


def test_same_masks_as_the_dense_solver_on_tokens(tokens):
    for features in tokens[:4]:
        fast = maskcut.maskcut(features, (20, 20))
        slow = maskcut.maskcut(features, (20, 20), solver="dense")
        assert agree(fast, slow) >= 0.99


def test_batch_is_one_by_one(tokens):
    together = maskcut.maskcut_batch(tokens, (20, 20))
    for features, masks in zip(tokens, together, strict=True):
        assert agree(maskcut.maskcut(features, (20, 20)), masks) >= 0.99


def test_scale_and_sign_of_features_do_not_matter(tokens):
    first = maskcut.maskcut(tokens[0], (20, 20))
    lengths = torch.rand(400, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    assert torch.equal(maskcut.maskcut(-tokens[0] * 8, (20, 20)), first)
    assert agree(maskcut.maskcut(tokens[0] * lengths, (20, 20)), first) >= 0.99


def test_the_eigenvector_solves_the_published_problem():
    features, _ = scene(12, 12, [(3, 3, 9, 9)], noise=3)
    A = maskcut.affinity(features)
    D = torch.diag(A.sum(1))
    value, v = maskcut.second_eigenvector(A)
    assert torch.allclose((D - A) @ v, value * D @ v, atol=1e-8)
    # second: orthogonal to the constant vector in the metric of the degrees
    assert abs(float(A.sum(1) @ v)) < 1e-8
    found = maskcut.maskcut_rounds(features, (12, 12), n_masks=1)[0]
    assert found.products > 0
    assert found.eigenvalue == pytest.approx(1 - value, abs=1e-6)
    assert abs(float(found.vector.flatten() @ v)) == pytest.approx(1, abs=1e-6)


def test_product_is_that_of_the_normalised_affinity_after_painting():
    features, _ = scene(7, 9, [(1, 1, 5, 5)], noise=2)
    alive = torch.ones(1, 63)
    alive[0, 10:30] = 0
    product, degrees = maskcut.normalised_product(
        maskcut.neighbours(features)[None].double(), alive.double(), 1e-5
    )
    A = maskcut.affinity(features * alive[0, :, None])
    assert torch.allclose(degrees[0], A.sum(1))
    root = A.sum(1).rsqrt()
    x = torch.randn(1, 63, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(product(x)[0], root * (A @ (root * x[0])), atol=1e-12)


def test_pieces_that_hang_together_by_eps_alone():
    """Eigenvalues within 1e-5 of one, and of each other: float32 cannot tell them apart, the result still is right."""
    kind = torch.zeros(12, 12, dtype=torch.long)
    kind[2:6, 2:6] = 1
    kind[7:11, 3:10] = 2
    features = torch.eye(3)[kind.flatten()]
    fast = maskcut.maskcut_rounds(features, (12, 12))
    slow = maskcut.maskcut_rounds(features, (12, 12), solver="dense")
    assert fast[0].eigenvalue > maskcut.NEARLY_APART
    assert fast[0].eigenvalue == pytest.approx(slow[0].eigenvalue, abs=1e-10)
    for a, b in zip(fast, slow, strict=True):
        assert a.eigenvalue == pytest.approx(b.eigenvalue, abs=1e-6)
        assert torch.equal(a.mask, b.mask)


def test_cut_is_the_same_for_both_signs_of_the_vector():
    v = torch.randn(8, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for corner_value in (-3.0, 3.0):
        for corners in ([0, 9], [0, 9, 70], [0, 9, 70, 79]):
            u = v.flatten().clone()
            u[corners] = corner_value
            one, other = maskcut.split(u, (8, 10)), maskcut.split(-u, (8, 10))
            assert torch.equal(one[1], other[1])
            assert one[2] == other[2]
            assert torch.equal(one[3], other[3])
            assert one[1][one[2]]  # the seed lies on the object's side
            if len(corners) > 2:
                assert int(one[1][[0, 0, -1, -1], [0, -1, 0, -1]].sum()) <= 1


def test_only_the_piece_with_the_seed_is_kept():
    v = torch.zeros(6, 6)
    v[1:3, 1:3], v[4, 4], v[3, 3] = 1.0, 2.0, 1.0
    _, foreground, seed, piece = maskcut.split(v.flatten(), (6, 6))
    assert seed == (4, 4)
    assert int(foreground.sum()) == 6
    assert int(piece.sum()) == 1  # patches that touch at a corner only do not hang together


def test_further_masks_must_be_new_and_large_enough():
    features, _ = scene(20, 20, [(3, 3, 13, 13)], noise=0.2)
    rounds = maskcut.maskcut_rounds(features, (20, 20), n_masks=3)
    assert len(maskcut.maskcut(features, (20, 20))) == sum(not r.dropped for r in rounds)
    assert all(not r.dropped for r in rounds[:-1])
    first = rounds[0]
    again = maskcut.masks.judge(0.5, first.vector.flatten(), (20, 20), [first], 0)
    assert again.dropped == "an earlier object again"
    tiny = torch.zeros(20, 20)
    tiny[17, 4:8] = 1.0
    assert maskcut.masks.judge(0.5, tiny.flatten(), (20, 20), [first], 0).dropped == "too small"
    tiny[17, 4:9] = 1.0
    assert maskcut.masks.judge(0.5, tiny.flatten(), (20, 20), [first], 0).dropped == ""


def test_one_mask_is_the_first_of_three(tokens):
    assert torch.equal(
        maskcut.maskcut(tokens[0], (20, 20), n_masks=1)[0], maskcut.maskcut(tokens[0], (20, 20))[0]
    )


@pytest.mark.parametrize("n", [4, 144])
@pytest.mark.parametrize("features", [torch.ones, torch.zeros])
def test_patches_that_are_all_alike_give_no_mask(n, features):
    side = int(n**0.5)
    assert maskcut.maskcut(features(n, 5), (side, side)).shape == (0, side, side)
    assert [len(m) for m in maskcut.maskcut_batch(features(2, n, 5), (side, side))] == [0, 0]


def test_patches_that_are_all_unlike_give_no_mask():
    assert maskcut.maskcut(torch.eye(16), (4, 4)).shape == (0, 4, 4)


def test_the_smallest_image():
    masks = maskcut.maskcut(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0, 1]]), (2, 2))
    assert masks.shape[0] == 1
    assert int(masks.sum()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.full((16, 3), torch.nan)}, "finite"),
        ({"features": torch.ones(16, 3, dtype=torch.long)}, "integer entries"),
        ({"features": torch.ones(17, 3)}, "leave the class token out"),
        ({"features": torch.ones(16)}, r"\(patches, d\)"),
        ({"grid": (3, 4)}, "12 patches, features have 16 rows"),
        ({"features": torch.ones(3, 3), "grid": (1, 3)}, "at least 4 patches"),
        ({"n_masks": 0}, "n_masks must be an integer of at least 1"),
        ({"tau": 1.0}, "tau must lie in"),
        ({"eps": 0.0}, "eps must lie in"),
        ({"solver": "magic"}, "solver must be one of"),
    ],
)
def test_errors_say_what_was_expected(change, message):
    good = {"features": torch.rand(16, 3, generator=torch.Generator().manual_seed(0)), "grid": (4, 4)}
    with pytest.raises(ValueError, match=message):
        maskcut.maskcut(**(good | change))


def test_boxes():
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 0] = True
    assert maskcut.boxes_of(masks).tolist() == [[2, 1, 6, 3], [0, 4, 1, 5]]
    assert maskcut.boxes_of(masks[:0]).shape == (0, 4)
    with pytest.raises(ValueError, match="mask 1 is empty"):
        maskcut.boxes_of(torch.stack([masks[0], torch.zeros(5, 7, dtype=torch.bool)]))


def test_discover_reads_projections_of_crate_and_keys_of_a_vit():
    images = data.load("embedded", "test", n=2, seed=3, image_size=96).images
    for name in ("crate_mini_animals_s0", "vit_mini_animals_s0"):
        model = load_pretrained(name)
        found = maskcut.discover(model, images, [-1, 3])
        assert sorted(found) == [3, 7]
        features = patch_features(model, images, [3])[3]
        for i in range(2):
            assert agree(found[3][i], maskcut.maskcut(features[i], (12, 12))) == 1


@pytest.mark.realdata
def test_real_tokens_at_30_x_30(data_folder):
    images = data.load("horses", "test", n=2, image_size=240, root=data_folder).images
    for name in ("crate_mini_animals_s0", "vit_mini_animals_s0"):
        for features in patch_features(load_pretrained(name), images, [6])[6]:
            fast, slow = (maskcut.maskcut(features, (30, 30), solver=s) for s in maskcut.SOLVERS)
            assert agree(fast, slow) >= 0.99
            assert np.isfinite(maskcut.boxes_of(fast).numpy()).all()


# --- the command -----------------------------------------------------------------------------------------------------

LINE = [
    "evaluate", "maskcut", "--data", "embedded", "--n", "7", "--size", "64", "--layers", "3", "-1", "--device", "cpu",
]  # fmt: skip

KILLED = """
import os, signal, sys
from crate_mini.cli import main, maskcut
discover, seen = maskcut.discover, []
def until_killed(*args, **kwargs):
    seen.append(1)
    if len(seen) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return discover(*args, **kwargs)
maskcut.discover = until_killed
main(sys.argv[1:])
"""


def test_command_goes_on_where_it_was_killed(tmp_path, capsys):
    out, whole = tmp_path / "cut.json", tmp_path / "whole.json"
    assert copies.run(KILLED, tmp_path / "log", *LINE, "--out", str(out)) == -signal.SIGKILL
    assert not out.exists()
    partial = tmp_path / ".cut.json.partial"
    assert len(json.loads(partial.read_text())["tables"]) == 4
    assert main([*LINE, "--out", str(out)]) == 0
    assert "going on after 4 of 7 images" in capsys.readouterr().err
    assert not partial.exists()
    assert main([*LINE, "--out", str(whole)]) == 0
    resumed, fresh = (json.loads(f.read_text()) for f in (out, whole))
    for key in ("by_layer", "baselines", "sha256", "weights", "images", "tau"):
        assert resumed[key] == fresh[key], key
    assert sorted(resumed["by_layer"]) == ["3", "7"]
    assert {"command", "commit", "device", "versions", "date"} <= set(resumed)


def test_command_starts_over_where_settings_differ(tmp_path, capsys):
    out = tmp_path / "cut.json"
    (tmp_path / ".cut.json.partial").write_text('{"settings": {}, "tables": [{}]}')
    assert main([*LINE, "--n", "1", "--size", "32", "--out", str(out)]) == 0
    assert "starting over" in capsys.readouterr().err
    assert json.loads(out.read_text())["images"] == 1


def test_command_refuses_what_cannot_be_measured(tmp_path, capsys):
    assert main([*LINE, "--n-masks", "0"]) == 2
    assert "--n-masks must be at least 1" in capsys.readouterr().err
    assert main([*LINE, "--tau", "2"]) == 2
    assert "tau must lie in" in capsys.readouterr().err
    for kind, value in (("images", 128), ("masks", 0)):
        (tmp_path / kind).mkdir()
        Image.new("L", (32, 32), value).save(tmp_path / kind / "empty.png")
    assert main(["evaluate", "maskcut", "--data", "masks", "--root", str(tmp_path), "--size", "32"]) == 2
    message = capsys.readouterr().err
    assert "empty.png" in message
    assert "no object pixel" in message


def test_objects_of_an_image():
    truth = torch.zeros(1, 8, 8, dtype=torch.uint8)
    truth[0, 2:4, 2:4], truth[0, 5:7, 5:8], truth[0, 0] = 1, 2, data.IGNORE
    binary = torch.where(truth == 2, 1, truth).to(torch.uint8)
    images = data.ImageSet(
        images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(1, dtype=torch.long),
        masks=binary, parts=truth, part_names=("background", "cat", "dog"),
    )  # fmt: skip
    one, counted = command.true_objects(images, 0)
    assert [int(m.sum()) for m in one] == [10]
    assert int((~counted).sum()) == 8
    two, _ = command.true_objects(images, 0, "parts")
    assert [int(m.sum()) for m in two] == [4, 6]
    # the ignored row changes nothing: a mask that covers it too is perfect
    generous = two[:1] | ~counted
    assert command.overlaps(generous, two, counted)["mask"][0] == [1, 0]


def test_instances_of_an_image():
    """One by one, with those too small to be left, and the crowd as what does not count."""
    truth = torch.zeros(2, 8, 8, dtype=torch.uint8)
    truth[0, 2:4, 2:4], truth[0, 5:7, 5:8], truth[0, :, :2] = 1, 3, data.IGNORE
    images = data.ImageSet(
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(2, dtype=torch.long),
        classes=("cat", "dog"), instances=truth, instance_classes=((0, 1, 1), ()),
    )  # fmt: skip
    masks, counted = command.true_objects(images, 0, "instances")
    assert [int(m.sum()) for m in masks] == [4, 0, 6]
    assert int((~counted).sum()) == 16
    assert command.true_objects(images, 1, "instances")[0].shape == (0, 8, 8)
    found = torch.zeros(3, 8, 8, dtype=torch.bool)
    found[0, 2:4, 2:4], found[1, :, :2], found[2, 6:, 1:3] = True, True, True
    table = command.overlaps(found, masks, counted, crowds=True)
    assert table["box"][0] == [1, 0, 0]
    assert table["crowd"] == {"mask": [0, 1, 0.5], "box": [0, 1, 0.5]}
    empty = command.overlaps(found[:1], *command.true_objects(images, 1, "instances"), crowds=True)
    got = command.summary([table, empty])
    # one of three objects is hit first, by one image; what lies in the crowd is no miss, what stands in an image
    # without objects is one, and comes with the same score after it
    assert got["box"]["AP50"][0] == pytest.approx(34 / 101)
    assert got["corloc"][0] == got["first_iou"][0] == 1, "over the images with something to find"
    with pytest.raises(ValueError, match="no image of the set shows an object"):
        command.summary([empty])
    with pytest.raises(ValueError, match="has no masks of objects one by one"):
        command.true_objects(data.load("embedded", n=1, image_size=16), 0, "instances")


def test_the_ellipse_beside_the_networks_is_fixed_beforehand():
    """On one image of a small disc the best of nine is another, and says so."""
    y, x = ((torch.arange(40) + 0.5) / 40 - 0.5 for _ in range(2))
    disc = (y[:, None].square() + x.square()) < 0.2**2
    found = command.baselines([(disc[None], torch.ones(40, 40, dtype=torch.bool))])
    assert found["centre"]["share"] == 0.5
    assert found["best ellipse"]["share"] == 0.1
    assert found["best ellipse"]["first_iou"][0] > 0.75 > 0.3 > found["centre"]["first_iou"][0]
    assert found["everything"]["first_iou"][0] == pytest.approx(disc.float().mean().item(), abs=1e-4)


def test_summary_of_perfect_and_of_second_masks():
    perfect = {"mask": [[1.0]], "box": [[1.0]], "objects": 1}
    late = {"mask": [[0.1], [1.0]], "box": [[0.1], [1.0]], "objects": 1}
    got = command.summary([perfect, perfect])
    assert got["mask"]["AP"] == (1, 1, 1)
    assert got["corloc"][0] == got["first_iou"][0] == got["masks_per_image"] == 1
    got = command.summary([perfect, late])
    assert got["corloc"][0] == 0.5
    assert got["corloc_of_image"] == [1, 0]
    assert got["first_iou_of_image"] == [1.0, 0.1]
    # hit, miss, hit: precision 1 up to half of all objects, 2/3 from there
    assert got["mask"]["AP50"][0] == pytest.approx((51 + 50 * 2 / 3) / 101)
