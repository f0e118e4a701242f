"""The scores of masked autoencoders: trainings that can be run, both halves found again, signs that are turned."""

from __future__ import annotations

import score_masked
import torch
from small_training import recipe, run, tiny

from crate_mini.recipes import find_run, get_recipe
from crate_mini.training import TASKS, MaskedAutoencoding
from crate_mini.weights import save_model


def test_every_training_can_be_run():
    for name, (arm, seed, flags) in score_masked.trainings().items():
        _, run_id, *told = flags.split()
        settings = dict(pair.split("=") for pair in told if pair != "--task-set")
        named = get_recipe(find_run(run_id))
        assert (named.recipe.seed, named.task) == (seed, "masked"), name
        assert name.removesuffix(f"_s{seed}").removeprefix("masked_") in {arm, *score_masked.DRAWN}
        TASKS["masked"](named.recipe, **settings)


def test_both_halves_are_found_again(tmp_path):
    r = recipe(epochs=1)
    model, task = (
        tiny(num_classes=1),
        MaskedAutoencoding(r, decoder="plus", output="tied", mask_tokens="decoder"),
    )
    run(model, r, task=task, out=tmp_path)
    save_model(model, tmp_path / "model.safetensors", {"task": task.settings()})
    again, decoder = score_masked.load(tmp_path)
    images, kept = torch.rand(2, 3, 16, 16), torch.tensor([[1], [3]])
    with torch.no_grad():
        assert torch.equal(decoder(again, images, kept), task.decoder.eval()(model.eval(), images, kept))


def test_a_turned_sign_is_turned_back(monkeypatch):
    monkeypatch.setattr(score_masked, "GRID", (2, 2))
    torch.manual_seed(0)
    model = tiny(num_classes=1).eval()
    minus, plus = (
        score_masked.PatchDecoder(model.config, decoder=kind, tied=True).eval() for kind in ("minus", "plus")
    )
    plus.load_state_dict(minus.state_dict())
    images = (255 * torch.rand(4, 3, 16, 16)).to(torch.uint8)
    before = score_masked.errors(model, minus, images)
    with score_masked.moved(list(minus.blocks), -1):
        assert torch.equal(
            score_masked.errors(model, minus, images), score_masked.errors(model, plus, images)
        )
    assert torch.equal(score_masked.errors(model, minus, images), before)
    first, second = (score_masked.rates(model, half, images) for half in (minus, plus))
    assert first["encoder"] == second["encoder"]
    assert first["decoder"][0] < 0 < second["decoder"][0] or second["decoder"][0] < 0 < first["decoder"][0]
