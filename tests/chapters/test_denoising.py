"""Chapter 13: the theorem's layer with other sizes, the two formulas by golden values, the table, the networks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import theorem
import torch
import torch.nn.functional as F

from crate_mini import data
from crate_mini.chapters import denoising
from crate_mini.chapters.denoising import Setting
from crate_mini.compression import cbsa, gather, softmax_attention
from crate_mini.model import create_model
from crate_mini.rates import compression_rate, project, snr

SMALL = Setting(n=120, d=150, K=5, p=28, tau=0.8, step=0.4, depth=12)
"""No size of the page's; a token has a part in no subspace's span, where there is room for it."""


# ---- the theorem ---------------------------------------------------------------------------------------------


def test_setting_by_hand():
    assert SMALL.rate == pytest.approx(1.32)
    assert SMALL.reach == pytest.approx(math.sqrt(math.log(120)))
    # 0.1 sqrt(28) 1.32^l < 2.188 for l = 0 ... 5
    assert SMALL.layers_held(0.1) == 6
    assert SMALL.layers_held(0.5) == 0
    assert replace(SMALL, depth=4).layers_held(0.1) == 4
    # p > 32/9 ln n is what lets a threshold above one half be chosen
    least = math.ceil(32 / 9 * math.log(120))
    assert replace(SMALL, p=least - 1).largest_tau < 0.5 < replace(SMALL, p=least).largest_tau
    assert SMALL.tau < SMALL.largest_tau


def test_every_layer_is_on_the_rate_where_the_theorem_holds():
    """To nine digits: many dimensions, and noise so small that the depth does not reach its bound."""
    quiet = replace(SMALL, d=320, p=60, depth=5)
    for seed in (0, 1):
        seen = denoising.run(quiet.draw(0.02, seed), step=quiet.step, depth=quiet.depth, tau=quiet.tau)
        assert seen.growth.tolist() == pytest.approx([quiet.rate] * 5, rel=1e-9)
        assert seen.own.tolist() == pytest.approx([quiet.tau] * 5)
        assert (seen.itself == 0).all()
        assert (seen.another == 0).all()
        assert seen.layers_on(quiet.rate) == 5


def test_tokens_exchange_nothing_there():
    """The layer is z + eta tau P z with the projection on the own subspace, token by token."""
    mixture = SMALL.draw(0.02, 3)
    own = mixture.bases[mixture.labels]
    projected = torch.einsum("ndp,nep,ne->nd", own, own, mixture.tokens)
    A = denoising.threshold_attention(mixture.tokens, mixture.bases, SMALL.tau)
    moved = SMALL.step * gather(A, mixture.tokens, mixture.bases)
    assert torch.allclose(moved, SMALL.step * SMALL.tau * projected, atol=1e-12)


def test_a_token_alone_is_not_denoised():
    """The crowd keeps foreign rows below the threshold; without it every head is the identity."""
    alone = replace(SMALL, n=1, K=2, d=60)
    mixture = alone.draw(0.1, 0)
    A = denoising.threshold_attention(mixture.tokens, mixture.bases, alone.tau)
    assert A.unique().tolist() == [alone.tau]
    moved = gather(A, mixture.tokens, mixture.bases)
    inside = mixture.bases.movedim(0, 1).reshape(60, 56)
    assert torch.allclose(moved, alone.tau * mixture.tokens @ inside @ inside.T, atol=1e-12)


def test_it_breaks_where_the_bound_says_and_rescaling_repairs_it():
    runs = denoising.theorem_runs(SMALL, (0.1, 0.2), ("grow", "kept", "inside"), (0, 1))
    for delta in (0.1, 0.2):
        for grow, kept, inside in zip(
            *(runs[delta, length] for length in ("grow", "kept", "inside")), strict=True
        ):
            assert abs(grow.layers_on(SMALL.rate) - SMALL.layers_held(delta)) <= 1
            assert grow.snr[-1] < grow.snr[0] < grow.snr.max()
            assert grow.another[0] == 0
            assert grow.another[-1] > 0.2
            assert kept.growth.tolist() == pytest.approx([SMALL.rate] * SMALL.depth, rel=0.04)
            assert grow.snr[0] == kept.snr[0] == inside.snr[0]
            # straight and not exponential: every layer adds the same
            added = inside.snr.diff()
            assert added.tolist() == pytest.approx([float(added.mean())] * SMALL.depth, rel=0.1)
    head, _, *rows = denoising.theorem_table(runs, SMALL).data.splitlines()
    assert head == "|  | δ = 0.1 | δ = 0.2 |"
    assert f"| … estimated | {SMALL.layers_held(0.1)} | {SMALL.layers_held(0.2)} |" in rows
    facts = denoising.answer_facts(runs, SMALL, 0.1, 0.2)
    assert facts["start"] == pytest.approx(1 / (0.1 * math.sqrt(SMALL.K - 1)), rel=0.05)
    assert facts["rescaled_rate"] == pytest.approx(SMALL.rate, rel=0.01)
    assert 0 < facts["rest"] < 0.01


def test_outside_the_condition_noise_grows_with_the_signal():
    """delta^2 p above log n: a token looks at itself in foreign heads, too."""
    loud = replace(SMALL, depth=4)
    delta = 1.6 * math.sqrt(math.log(loud.n) / loud.p)
    seen = denoising.run(loud.draw(delta, 0), step=loud.step, depth=4, tau=loud.tau)
    assert seen.itself[0] > 0.5
    assert seen.snr[-1] < 1.2 * seen.snr[0]


def test_locking_hangs_on_one_number():
    """Another p and another n: the share of looks that lock on another is small before the line, large beyond."""
    for setting in (SMALL, replace(SMALL, n=60, p=20, d=100), replace(SMALL, K=3, p=40, d=120)):
        seen = denoising.run(setting.draw(0.1, 0), step=setting.step, depth=setting.depth, tau=setting.tau)
        loud = 0.1 * math.sqrt(setting.p) * setting.rate ** torch.arange(setting.depth) / setting.reach
        assert seen.another[loud < 0.7].max() < 0.01
        assert seen.another[(loud > 2) & (loud < 2.6)].min() > 0.1


def test_the_softmax_of_the_network_denoises_until_means_add_up():
    """It peaks; by then the noise lies along the means of the classes; without the mean there is no peak."""
    deep = replace(SMALL, depth=20)
    plain, centred = (denoising.softmax_runs(deep, (0.1, 0.4), (0, 1), centred=yes) for yes in (False, True))
    for key, seeds in plain.items():
        for seen, without in zip(seeds, centred[key], strict=True):
            assert 1 < int(seen.snr.argmax()) < deep.depth - 1
            assert seen.shared[0] < 0.15
            assert seen.shared[-1] > 0.8
            assert (without.snr.diff() > 0).all()
            assert without.snr[-1] > 5 * seen.snr.max()
    facts = denoising.softmax_facts(plain, centred, deep)
    assert facts["earliest"] < facts["latest"], "less noise peaks earlier"
    assert facts["loud_centred"] > 10 * facts["loud_end"]


def test_shared_noise_by_hand():
    """Two classes in a plane each; the second's tokens lie along one axis, as does half of the first's noise."""
    U = torch.eye(4, dtype=torch.float64).view(4, 2, 2).movedim(1, 0)
    Z = torch.tensor([[1.0, 0, 3, 3], [0, 2, 0, 0], [0, 0, 5, 0], [0, 0, 7, 0]], dtype=torch.float64)
    assert float(denoising.shared_noise(Z, U, torch.tensor([0, 0, 1, 1]))) == pytest.approx(0.5)


def test_controls():
    """The minus sign undoes; random bases denoise nothing."""
    mixture = SMALL.draw(0.1, 0)
    minus = denoising.run(mixture, step=-0.1, depth=3, tau=SMALL.tau)
    assert minus.growth.tolist() == pytest.approx([1 - 0.1 * SMALL.tau] * 3, rel=1e-6)
    turned = replace(mixture, bases=denoising.random_frames(mixture.bases, 1))
    A = denoising.threshold_attention(turned.tokens, turned.bases, SMALL.tau)
    moved = mixture.tokens + SMALL.step * gather(A, turned.tokens, turned.bases)
    before, after = (snr(Z, mixture.bases, mixture.labels).mean() for Z in (mixture.tokens, moved))
    assert after < 1.02 * before
    with pytest.raises(ValueError, match="length must be one of grow, kept, inside, layernorm"):
        denoising.run(mixture, step=1.0, depth=1, length="unit")


def test_a_layer_norm_breaks_it_sooner():
    """At length sqrt(d) the signal's coordinates are sqrt(d / p (1 + ...)) times as long as the theorem has them."""
    mixture = SMALL.draw(0.2, 0)
    inside, normed = (
        denoising.run(mixture, step=SMALL.step, depth=3, tau=SMALL.tau, length=length)
        for length in ("inside", "layernorm")
    )
    assert normed.another[0] > 0.05 > inside.another[0]
    page = Setting()  # what the page says of it
    falls = denoising.run(page.draw(0.2, 0), step=page.step, depth=4, tau=page.tau, length="layernorm")
    assert (falls.snr.diff() < 0).all()


# ---- signs ---------------------------------------------------------------------------------------------------


def test_moves_are_the_formulas():
    mixture, eps_sq = SMALL.draw(0.2, 0), 0.5
    found = denoising.moves(mixture, eps_sq, 0)
    Z, U = F.normalize(mixture.tokens, dim=-1), mixture.bases
    gamma = SMALL.p / (SMALL.n * eps_sq)
    moving = Z.clone().requires_grad_()
    G = project(moving, U) @ project(moving, U).mT
    first, second = (gamma * G).diagonal(dim1=-2, dim2=-1).sum() / 2, -(gamma * G).square().sum() / 4
    for name, term in (("first order", first), ("second order", second)):
        (gradient,) = torch.autograd.grad(term, moving, retain_graph=True)
        assert torch.allclose(gamma * found[name][1], -gradient, atol=1e-12)
    beta = math.sqrt(SMALL.d) ** 2 / math.sqrt(SMALL.p)  # on unit tokens
    attention = gather(softmax_attention(Z, U, beta), Z, U)
    assert torch.allclose(found["+ MSSA, tied"][1], attention, atol=1e-10)
    assert torch.equal(found["− MSSA, tied"][1], -found["+ MSSA, tied"][1])
    # CBSA: four neighbours a representative, a hundred and twenty tokens
    seen, half = math.sqrt(SMALL.d) * Z, torch.full((SMALL.K,), 0.5, dtype=Z.dtype)
    pooling = torch.kron(torch.eye(SMALL.n // 4, dtype=Z.dtype), torch.full((1, 4), 0.25, dtype=Z.dtype))
    assert torch.allclose(found["CBSA"][1], cbsa(seen, U, pooling, half, half), atol=1e-10)
    start, down = found["exact gradient"]
    assert compression_rate(start + 0.01 * down, U, eps_sq) < compression_rate(start, U, eps_sq)


def test_the_table_with_other_sizes():
    """What the page says: which sign each operator has, by rate and by ratio, and that length decides."""
    changes = denoising.sign_changes(SMALL, 0.2, (0, 1, 2))
    mean = {name: {q: sum(v) / 3 for q, v in row.items()} for name, row in changes.items()}
    assert mean["+ MSSA, tied"]["rate"] > 5
    assert mean["+ MSSA, tied"]["rate, length one"] < 0
    assert mean["+ MSSA, tied"]["ratio"] > 5
    assert mean["− MSSA, tied"]["rate"] < -5
    assert mean["− MSSA, tied"]["ratio"] < -5
    assert mean["TSSA"]["rate"] < 0
    assert mean["TSSA"]["ratio"] < 0
    assert mean["second order"]["rate"] > 5
    assert mean["MSSA − Z"]["ratio"] > mean["+ MSSA, tied"]["ratio"]
    agree, of = denoising.agreement(changes, ", length one")
    assert agree == of >= 7
    assert denoising.agreement(changes)[0] < of
    lines = denoising.signs_table(changes).data.splitlines()
    assert len(lines) == 2 + len(changes)
    assert f"| + MSSA, tied | {mean['+ MSSA, tied']['rate']:.1f} <small>±" in "\n".join(lines)


def test_minus_undoes_plus_through_the_norm():
    left = denoising.undo(SMALL, 0.2, (0, 1), 0.3)
    assert left["minus"] < 0.2 < left["without norm"] < 1 < 1.9 < left["plus"]


# ---- networks ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return create_model("crate_nano", dim=24, heads=2, depth=2).eval()


def test_layers_of_a_network(tiny):
    images = data.load("embedded", "test", n=3).images
    tiny.train()
    rows = denoising.network_layers(tiny, images, frames=2)
    assert tiny.training
    assert {value.shape for value in rows.values()} == {(2, 3)}
    assert ((rows["own"] > 0) & (rows["own"] < 1)).all()
    assert ((rows["looks"] > 1) & (rows["looks"] <= 65)).all()
    # by hand: layer 1, image 2
    seen = denoising.record(tiny.eval(), images[2:], ("attention_in", "tokens_mid", "tokens_in"))
    block = tiny.blocks[1]
    with torch.no_grad():
        Q = torch.linalg.qr(block.attention.U.double()).Q
        for name, stream in (
            ("before", seen["tokens_in"][1]),
            ("after", seen["tokens_mid"][1]),
            ("opposite", 2 * seen["tokens_in"][1] - seen["tokens_mid"][1]),
        ):
            Z = block.norm1(stream)[0].double()
            inside = torch.stack([(Z @ q).square().sum(-1) for q in Q]).max(0).values
            ratio = (inside.sum() / (Z.square().sum() - inside.sum())).sqrt()
            assert float(rows[name][1, 2]) == pytest.approx(float(ratio), rel=1e-4)
    facts = denoising.network_facts({"a": rows}, {"a": rows})
    assert (facts["layers"], facts["images"], facts["networks"]) == (2, 3, 1)
    assert facts["lower"] + facts["higher"] <= 2


def test_best_head_is_the_class_where_tokens_are_clean():
    mixture = SMALL.draw(0.01, 0)
    ratio, head = denoising.best_head_snr(mixture.tokens[None], mixture.bases)
    assert torch.equal(head[0], mixture.labels)
    assert float(ratio) == pytest.approx(
        float(snr(mixture.tokens, mixture.bases, mixture.labels).mean()), rel=0.05
    )


def test_untrained_is_of_the_same_sizes_and_leaves_the_dice_alone(tiny):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    blank = denoising.untrained(tiny)
    assert torch.equal(torch.rand(2), expected)
    assert blank.config == tiny.config
    assert torch.equal(blank.blocks[0].attention.U, denoising.untrained(tiny).blocks[0].attention.U)


def test_queries_and_keys_apart_are_refused():
    with pytest.raises(ValueError, match="queries and keys differ"):
        denoising.network_layers(create_model("vit_nano", dim=24, heads=2, depth=1), torch.rand(1, 3, 64, 64))


# ---- words and pictures ---------------------------------------------------------------------------------------


def test_numbers_are_rounded_to_what_the_draws_allow():
    assert denoising.spread([17.4, 17.6, 17.5]) == (17.5, 0.2)
    assert denoising.spread([1101.0, 1105.0]) == (1100, 30)
    assert denoising.spread([0.61234]) == 0.612
    assert denoising.spread([1.45, 1.45]) == 1.45


def test_figures(tiny):
    runs = denoising.theorem_runs(replace(SMALL, depth=3), (0.1, 0.3), ("grow", "kept", "inside"), (0,))
    panels = denoising.growth_figure(runs, replace(SMALL, depth=3)).axes
    assert len(panels) == 3
    first = torch.tensor(panels[0].lines[1].get_ydata())
    assert torch.allclose(first.double(), runs[0.1, "grow"][0].snr)
    grow = {key: value for key, value in runs.items() if key[1] == "grow"}
    (ax,) = denoising.locking_figure({replace(SMALL, depth=3): grow}).axes
    assert len(ax.lines) == 3, "two noises and the line"
    soft = denoising.softmax_runs(replace(SMALL, depth=3), (0.1,), (0,))
    assert len(denoising.softmax_figure(soft, soft, replace(SMALL, depth=3)).axes) == 3
    rows = denoising.network_layers(tiny, torch.rand(2, 3, 64, 64), frames=1)
    assert len(denoising.networks_figure({"a": rows}, {"a": rows}).axes) == 2


def test_the_table_by_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CRATE_MINI_DIRTY", "1")
    out = tmp_path / "theorem.json"
    sizes = "--n 60 --d 100 --K 3 --p 30 --depth 4 --step 0.3 --deltas 0.05 0.4 --seeds 2"
    theorem.main([*sizes.split(), "--out", str(out)])
    assert "the law: times 1.27 a layer" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["setting"] == {"n": 60, "d": 100, "K": 3, "p": 30, "tau": 0.9, "step": 0.3, "depth": 4}
    quiet, loud = found["rows"]
    assert (quiet["delta"], loud["delta"]) == (0.05, 0.4)
    assert quiet["grow"]["layers_on_the_rate"] == [4, 4]
    assert quiet["kept"]["rate_over_all"] == pytest.approx([1.27, 1.27], rel=0.01)
    with pytest.raises(SystemExit):
        theorem.main(["--seeds", "0"])
