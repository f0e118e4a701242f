"""From clicks to a mask: the rule, guides with known answers, and a script that clicks where it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.segmentation import flood

from crate_mini import clicks
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record


def square(side: int = 16) -> torch.Tensor:
    truth = torch.zeros(side, side, dtype=torch.uint8)
    truth[4:10, 3:12] = 1
    truth[10, 3:12] = 255
    return truth


def picture(side: int = 16) -> torch.Tensor:
    noise = torch.randint(
        0, 40, (3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return noise + 150 * (square(side) == 1).to(torch.uint8)


def tiny(family: str) -> CRATE:
    torch.manual_seed(0)
    return create_model(f"{family}_nano", dim=24, heads=3, depth=2, image_size=32, num_classes=3).eval()


def test_the_rule_pixel_by_pixel():
    torch.manual_seed(0)
    positive, negative = torch.randn(3, 4, 5).numpy(), torch.randn(2, 4, 5).numpy()
    for join in clicks.JOINS:
        mask = clicks.clicked_mask(positive, negative, 0.3, join)
        of = max if join == "max" else lambda values: sum(values) / len(values)
        for y in range(4):
            for x in range(5):
                near, far = (of([float(a[y, x]) for a in answers]) for answers in (positive, negative))
                assert bool(mask[y, x]) == (near >= 0.3 and near > far)
    with pytest.raises(ValueError, match="join"):
        clicks.joined(positive, "median")
    with pytest.raises(ValueError, match="positive click"):
        clicks.clicked_mask(positive[:0], negative, 0.3)


def test_colour_growing_is_the_flood_fill_of_another_library():
    image = picture(24)
    answer = clicks.growing_guide(image)(7.5 / 24, 8.5 / 24)
    near = clicks.colour_guide(image)(7.5 / 24, 8.5 / 24).numpy()
    for level in np.quantile(near, (0.3, 0.6, 0.9)):
        expected = flood((near >= level).astype(int), (7, 8), connectivity=1)
        np.testing.assert_array_equal(answer.numpy() >= level, expected)


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_a_patch_answers_with_its_own_row_of_attention(family):
    model, image = tiny(family), picture(32)
    guides = clicks.network_guides(model, image)
    kept = record(model, image[None], ("attention_in", "tokens_out"))
    attention = model.blocks[1].attention
    q, k = (t[0, :, 1:] for t in attention.queries_keys(attention.project(kept["attention_in"][1]).detach()))
    full = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    i = 2 * 4 + 1  # the patch of the click below
    for option, row in (("1, 2", full[2, i]), ("1, mean", full.mean(0)[i])):
        expected = (row / row.max()).log()
        expected[i] = 0
        found = guides["attention"][option](0.6, 0.3)
        torch.testing.assert_close(found.flatten(), expected, atol=1e-4, rtol=1e-3)
    tokens = kept["tokens_out"][0][0, 1:].detach()
    tokens = tokens - tokens.mean(0)
    expected = torch.nn.functional.cosine_similarity(tokens, tokens[i : i + 1])
    found = guides["tokens"]["0, centred"](0.6, 0.3)
    torch.testing.assert_close(found.flatten(), expected, atol=1e-5, rtol=1e-4)
    assert len(guides["attention"]) == 2 * 4
    assert len(guides["tokens"]) == 4


def test_the_script_clicks_what_is_missed_and_what_is_wrong():
    truth = square()
    game = clicks.play_out(
        clicks.disc_guide((16, 16)), truth, -0.15, clicks.clicking(0, 1, 2), most=12, goal=1.01
    )
    positive, negative, missed, wrong = [], [], square() == 1, square() == 9
    for (y, x, sign), iou in zip(game.clicks, game.ious, strict=True):
        assert sign == bool(missed.sum() >= wrong.sum())
        assert (missed if sign else wrong)[y, x]
        rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
        (positive if sign else negative).append(-((rows - y) ** 2 + (columns - x) ** 2).sqrt() / 16)
        mask = torch.stack(positive).amax(0) >= -0.15
        if negative:
            mask &= torch.stack(positive).amax(0) > torch.stack(negative).amax(0)
        mask &= truth != 255
        thing = truth == 1
        missed, wrong = thing & ~mask, mask & ~thing
        assert iou == pytest.approx(float((mask & thing).sum() / (mask | thing).sum()))
    assert len(game.clicks) == 12
    assert game.number(goal=game.ious[4]) <= 5
    assert game.number(goal=1.01, most=12) == 12
    assert not game.reached(1.01)


def test_every_guide_gets_the_same_first_click():
    truth, image = square(), picture()
    guides = (clicks.disc_guide((16, 16)), clicks.growing_guide(image), clicks.known_patches(truth, (4, 4)))
    first = {clicks.play_out(g, truth, -0.1, clicks.clicking(3, 0, 0)).clicks[0] for g in guides}
    assert len(first) == 1
    y, x, _ = first.pop()
    assert clicks.first_click(truth, clicks.clicking(3, 0, 0)) == ((y + 0.5) / 16, (x + 0.5) / 16)
    with pytest.raises(ValueError, match="no object"):
        clicks.play_out(guides[0], torch.zeros_like(truth), 0.0, clicks.clicking(0, 0, 0))


def test_the_best_option_is_chosen():
    truths = [square(), square().flip(0), square().flip(1)]

    def guides(i):
        return {"knows": clicks.known_patches(truths[i], (16, 16)), "near": clicks.disc_guide((16, 16))}

    found = clicks.choose(guides, truths)
    assert found["option"] == "knows"
    assert found["clicks"] == 1
    played = clicks.games(guides, truths, found["option"], found["threshold"], found["join"], draws=2)
    assert [[g.number() for g in of] for of in played] == [[1, 1]] * 3


def test_beside_colour_what_is_alike_counts_by_its_weight():
    image = picture()
    colour, guide = clicks.colour_guide(image, blur=1.0), clicks.disc_guide((16, 16))
    both = clicks.with_colour(guide, image, blur=1.0, weight=0.5)(0.5, 0.5)
    expected = -(colour(0.5, 0.5) ** 2 + (0.5 * guide(0.5, 0.5)) ** 2).sqrt()
    torch.testing.assert_close(both, expected)
