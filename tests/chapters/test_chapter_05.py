"""Chapter 05: its sentences hold for what it measures, its counts are the models', and its figures are drawn."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from crate_mini import data
from crate_mini.chapters import chapter_05 as chapter
from crate_mini.checkpoints import load_pretrained
from crate_mini.compression import mssa
from crate_mini.model import CRATE, Block, create_model
from crate_mini.recorder import RECORDABLE, record

LAYER = 4


@pytest.fixture(scope="module")
def photographs():
    return data.photographs(image_size=160)


@pytest.fixture(scope="module")
def model():
    return load_pretrained("crate_mini_all_lion_s0")


@pytest.fixture(scope="module")
def cat(model, photographs):
    return record(model, photographs["cat"][None], RECORDABLE)


@pytest.fixture(scope="module")
def two_networks(model, cat, photographs):
    vit = load_pretrained("vit_mini_6_all_lion_s0")
    runs = {"CRATE": cat, "ViT": record(vit, photographs["cat"][None], ["attention_in"])}
    return {"CRATE": model, "ViT": vit}, runs


@pytest.fixture(scope="module")
def departures(model):
    small = torch.stack(list(data.photographs(image_size=112).values()))
    torch.manual_seed(0)
    networks = {"trained": model, "untrained": CRATE(model.config).eval()}
    return {name: chapter.departures(m, record(m, small, ["attention_in"])) for name, m in networks.items()}


def test_the_first_half_gains_and_the_second_gives_back(model, photographs):
    run = record(model, torch.stack(list(photographs.values())), chapter.STAGES.values())
    facts = chapter.stage_facts(model, run, LAYER, list(photographs).index("cat"))
    assert facts["unit_compressed"] < facts["unit_sparsified"] < facts["unit_before"]
    assert facts["given_back"] > 0.1
    assert facts["pairs"] == 32
    assert facts["first_lowers"] > 0.8 * facts["pairs"]
    assert facts["second_raises"] > 0.6 * facts["pairs"]
    assert facts["zeros_compressed"] == 0 < 0.5 < facts["zeros_sparsified"]
    assert facts["zeros_before"] > 0.5


def test_rows_and_facts_of_the_stages_agree(model, cat):
    rows = {row["one image, layer 4"]: row for row in chapter.stage_rows(model, cat, LAYER)}
    facts = chapter.stage_facts(model, cat, LAYER)
    for stage in chapter.STAGES:
        assert rows["$R^c$, tokens at length one (nats)"][stage] == facts[f"unit_{stage}"]
        assert rows["zeros (%)"][stage] == pytest.approx(100 * facts[f"zeros_{stage}"])
    assert rows["smallest entry"]["compressed"] < 0 == rows["smallest entry"]["sparsified"]


def test_a_layer_edits_a_token(cat):
    facts = chapter.token_facts(cat, LAYER, chapter.index_of(chapter.EYE, 20))
    assert facts["stayed"] + facts["came"] == facts["remain"]
    assert facts["weight"] > 0.9
    assert chapter.index_of((0, 0), 20) == 1


def test_weights_are_those_that_the_class_token_s_record_holds(model, cat):
    S = chapter.attention_weights(model, LAYER, cat["attention_in"][LAYER])
    assert torch.allclose(S.sum(-1), torch.ones_like(S[..., 0]))
    assert torch.allclose(S[:, :, 0], cat["cls_attention"][LAYER], atol=1e-6)


def test_the_identity_inside_carries_a_token(model, cat):
    cosines = chapter.survival(model, cat)
    facts = chapter.survival_facts(cosines)
    assert facts["low"] > 0.85 > 0.2 > facts["bare_high"]
    assert min(cosines["whole"]) > max(cosines["without"])


def test_tokens_of_crate_look_at_themselves_and_those_of_a_vit_do_not(two_networks):
    facts = chapter.regard_facts(*two_networks)
    assert 0.3 < facts["crate"] < 0.7, "often"
    assert facts["vit"] < 0.02
    assert facts["tokens"] == 401
    for crate, vit in zip(
        *(chapter.self_regard(m, two_networks[1][n]) for n, m in two_networks[0].items()), strict=True
    ):
        assert crate > 10 * vit


def test_the_rocket_becomes_one_thing(model):
    rocket = data.photographs(image_size=80)["rocket"]
    facts = chapter.rocket_facts(model, rocket, LAYER)
    assert facts["own_later"] - facts["rest_later"] > facts["own_first"] - facts["rest_first"]
    given = chapter.half_steps(model, rocket)
    steps, n = 2 * model.config.depth + 1, given["grid"] ** 2
    assert len(given["length"]) == len(given["zeros"]) == steps
    assert len(base64.b64decode(given["likeness"])) == steps * n * (n - 1) // 2
    assert given["photo"].startswith("data:image/png;base64,")


def test_published_models_are_counted_to_the_last_digit():
    for row in chapter.published_rows():
        assert f"{row['counted'] / 1e6:.2f}" == f"{row['printed (M)']:.2f}"
        with torch.device("meta"):
            config = create_model(row["name"].strip("`"), num_classes=row["classes"]).config
        assert chapter.total_parameters(config) == row["counted"]
    assert 0.5 < chapter.classifier_share() < 0.7


def multiply_adds(block: Block, n: int, d: int) -> int:
    """Of one layer on ``n`` tokens, counted by PyTorch. Attention is written out: the counter sees products."""
    heads, Z = block.attention, torch.randn(1, n, d)
    with FlopCounterMode(display=False) as counter:
        if heads.symmetric:  # MSSA: one projection in three places
            mssa(Z, heads.U, heads.out.weight, heads.out.bias)
        else:
            queries, keys, values = heads.project(Z).chunk(3, dim=-1)
            heads.out(
                (queries @ keys.mT).softmax(-1) @ values
            )  # one wide head costs as much as many narrow ones
        block.feed(Z)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("n", [16, 48, 96])
def test_operations_are_those_that_pytorch_counts(n):
    crate = create_model("crate_nano", dim=48, heads=4).blocks[0]
    vit = create_model("vit_nano", dim=48, heads=4).blocks[0]
    d, look = 48, 2 * n**2 * 48
    with torch.enable_grad():  # as in training, where the matrix is formed anew in every step
        assert multiply_adds(crate, n, d) == 3 * n * d**2 + d**3 + look
    assert multiply_adds(vit, n, d) == 12 * n * d**2 + look


def test_where_attention_outweighs_the_rest():
    facts = chapter.cost_facts()
    r = facts["overtaken"]
    assert 2 * r**2 == pytest.approx(3 * r + 1)  # 2n²d = 3nd² + d³ with n = rd
    assert 0.25 < facts["share"] < 0.4
    assert facts["forward"] > 1


def test_training_frees_what_was_derived(departures):
    trained, untrained = departures["trained"], departures["untrained"]
    facts = chapter.departure_facts(trained, untrained, 192)
    assert (trained["within"] > untrained["within"]).all()
    assert np.abs(trained["direction"]).max() < 0.75
    assert facts["negative"] >= 1
    assert facts["reach_high"] < 2
    assert facts["atoms_high"] < 0.15
    assert facts["random"] == pytest.approx(untrained["within"].mean(), rel=0.1)
    assert (trained["low"] <= trained["median"]).all()
    assert (trained["median"] <= trained["high"]).all()


def test_figures_are_drawn(model, photographs, cat, two_networks, departures):
    S = chapter.attention_weights(model, LAYER, cat["attention_in"][LAYER])[0]
    drawn = [
        chapter.one_layer(photographs["cat"], cat, LAYER, patch=8),
        chapter.gathers(photographs["cat"], S, patch=8),
        chapter.one_token(cat, LAYER, chapter.index_of(chapter.EYE, 20)),
        chapter.draw_survival(chapter.survival(model, cat)),
        chapter.look_at_themselves(*two_networks, LAYER),
        chapter.operations(384),
        chapter.draw_departures(departures),
    ]
    for figure in drawn:
        assert isinstance(figure, Figure)
        assert all(ax.has_data() for ax in figure.axes)
