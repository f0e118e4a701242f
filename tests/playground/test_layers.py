"""The playground of chapter 07 in a browser: its rates are crate_mini's, from the spectra it was given."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crate_mini.layerwise import coordinates
from crate_mini.model import create_model
from crate_mini.rates import coding_rate
from crate_mini.recorder import record


def scaled(block, Z: torch.Tensor, normalise: str) -> torch.Tensor:
    Zk = coordinates(block.attention, F.normalize(Z, dim=-1) if normalise == "token" else Z)[0].double()
    return F.normalize(Zk, dim=-1) if normalise == "head" else Zk


@pytest.fixture(scope="module")
def networks() -> tuple[dict, dict]:
    """Data as the notebook makes it, for two small networks; and the coordinates that it was made from."""
    torch.manual_seed(0)
    picture, models, coords = torch.rand(1, 3, 32, 32), {}, {}
    for name in ("untrained", "trained"):
        model = create_model("crate_nano", dim=24, heads=3, depth=3, image_size=32).eval()
        rec = record(model, picture, ("tokens_in", "tokens_mid", "tokens_out"))
        places = {"before": rec["tokens_in"], "after": rec["tokens_mid"]}
        for normalise in ("none", "token", "head"):
            for place, tokens in places.items():
                for layer, Z in tokens.items():
                    with torch.no_grad():
                        coords[name, normalise, place, layer] = scaled(model.blocks[layer], Z, normalise)
        spectra = {
            normalise: {
                place: [
                    [
                        (1000 * (torch.linalg.svdvals(Zk).square() / len(Zk)).clamp(min=1e-12).log())
                        .round()
                        .int()
                        .tolist()
                        for Zk in coords[name, normalise, place, layer]
                    ]
                    for layer in range(3)
                ]
                for place in places
            }
            for normalise in ("none", "token", "head")
        }
        zeros = [(rec["tokens_out"][layer] == 0).float().mean().item() for layer in range(3)]
        models[name] = {"zeros": zeros, "spectra": spectra}
    return {"p": 8, "models": models}, coords


@pytest.mark.parametrize(
    ("network", "tokens", "key", "layer", "head", "eps_sq"),
    [
        ("untrained", "as they are", "none", 0, None, 0.01),
        ("trained", "length one", "token", 2, None, 0.5),
        ("trained", "length one per head", "head", 1, 2, 0.01),
        ("untrained", "length one", "token", 1, 0, 10.0),
    ],
)
def test_numbers_are_those_of_the_package(open_play, networks, network, tokens, key, layer, head, eps_sq):
    data, coords = networks
    tab = open_play("layers", data)
    tab.choose("network", network).choose("tokens", tokens).slide("layer", layer)
    tab.choose("head", "all heads" if head is None else f"head {head}").slide("ε²", eps_sq)
    rates = {place: coding_rate(coords[network, key, place, layer], eps_sq) for place in ("before", "after")}
    rates = {place: (r.sum() if head is None else r[head]).item() for place, r in rates.items()}
    assert tab.number("Rᶜ before") == pytest.approx(rates["before"], abs=0.06)
    assert tab.number("Rᶜ after") == pytest.approx(rates["after"], abs=0.06)
    assert tab.number("change") == pytest.approx(rates["after"] - rates["before"], abs=0.08)
    zeros = data["models"][network]["zeros"][layer]
    assert tab.readout("zeros after ISTA") == f"{100 * zeros:.0f} %"


def test_the_picture_and_the_note_answer(open_play, networks):
    data, coords = networks
    tab = open_play("layers", data)
    seen = [tab.pixels()]
    for turn in (
        lambda: tab.slide("layer", 0),
        lambda: tab.slide("ε²", 1.0),
        lambda: tab.choose("head", "head 1"),
        lambda: tab.choose("network", "trained"),
        lambda: tab.choose("tokens", "length one"),
    ):
        turn()
        assert tab.pixels() != seen[-1]
        seen.append(tab.pixels())
    higher = sum(
        (
            coding_rate(coords["trained", "token", "after", layer][1], 1.0)
            > coding_rate(coords["trained", "token", "before", layer][1], 1.0)
        ).item()
        for layer in range(3)
    )
    assert f"raises Rᶜ in {higher} of 3 layers" in tab.note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, networks, theme):
    tab = open_play("layers", networks[0], width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
