"""A CRATE-Tiny block stack against the papers' formula written plainly: forward and training step.

Both sides hold the same weights and give the same outputs, which is checked first. The plain side forms every
softmax matrix and all three products of ISTA, as the released code does; ours goes through
:class:`crate_mini.model.Block`. Runs alternate, so that a busy machine slows both; the medians are compared.

    python benchmarks/bench_blocks.py                 the full measurement
    python benchmarks/bench_blocks.py --rounds 3 --batch 2 --depth 2 --no-write    a quick look
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crate_mini.model import CRATE, Block, CRATEConfig
from crate_mini.results import add_dirty, provenance, require_clean, write

RESULT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "blocks.json"
DIM, HEADS, TOKENS = 384, 6, 197


class PlainBlock(nn.Module):
    """Z + MSSA(LN(Z)), then ISTA(LN(.)), operation by operation."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2  # the same parameters, not copies
        self.qkv, self.out, self.D = block.attention.project, block.attention.out, block.feed.D
        self.heads, self.step, self.lam = block.attention.heads, block.feed.step, block.feed.lam

    def forward(self, Z: Tensor) -> Tensor:
        b, n, _ = Z.shape
        w = self.qkv(self.norm1(Z)).view(b, n, self.heads, -1).permute(0, 2, 1, 3)
        dots = torch.matmul(w, w.transpose(-1, -2)) * w.shape[-1] ** -0.5
        heads = torch.matmul(dots.softmax(-1), w)
        Z = Z + self.out(heads.permute(0, 2, 1, 3).reshape(b, n, -1))
        y = self.norm2(Z)
        x1 = F.linear(y, self.D)
        grad_1 = F.linear(x1, self.D.t())
        grad_2 = F.linear(y, self.D.t())
        return F.relu(y + self.step * (grad_2 - grad_1) - self.step * self.lam)


class PlainCRATE(nn.Module):
    """The network written plainly over the parameters of ``model``, tokens and head as there."""

    def __init__(self, model: CRATE) -> None:
        super().__init__()
        self.of = model
        self.blocks = nn.ModuleList(PlainBlock(block) for block in model.blocks)

    def forward(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """Logits; from the patches ``kept`` alone, if given, which are taken out when all have been embedded."""
        Z = self.of.tokens(images)
        if kept is not None:
            patches = Z[:, 1:].gather(1, kept[..., None].expand(-1, -1, Z.shape[-1]))
            Z = torch.cat([Z[:, :1], patches], 1)
        for block in self.blocks:
            Z = block(Z)
        return self.of.head(self.of.norm(Z[:, 0]))


def stacks(depth: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Ours and the plain one, over the same parameters."""
    torch.manual_seed(0)
    config = CRATEConfig(dim=DIM, heads=HEADS, depth=depth)
    ours = nn.Sequential(*(Block(config) for _ in range(depth))).to(device)
    return ours, nn.Sequential(*(PlainBlock(block) for block in ours))


def check_equal(ours: nn.Module, plain: nn.Module, Z: Tensor) -> float:
    """Largest relative difference of outputs and of gradients; raises if the two are not the same function."""
    worst = 0.0
    parameters = list(ours.parameters())
    results = []
    for stack in (ours, plain):
        out = stack(Z)
        results.append([out, *torch.autograd.grad(out.square().mean(), parameters)])
    for a, b in zip(*results, strict=True):
        worst = max(worst, ((a - b).norm() / b.norm().clamp_min(1e-30)).item())
    if not worst < 1e-3:
        raise AssertionError(f"the two stacks differ by {worst:.2e}; their times mean nothing")
    return worst


def forward(stack: nn.Module, Z: Tensor) -> Callable[[], None]:
    """One forward pass without a graph."""

    def run() -> None:
        with torch.no_grad():
            stack(Z)

    return run


def training_step(stack: nn.Module, Z: Tensor) -> Callable[[], None]:
    """Forward, backward, and a step of plain gradient descent, which costs both sides the same."""
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.0)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        stack(Z).square().mean().backward()
        optimizer.step()

    return run


def seconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def alternate(a: Callable, b: Callable, rounds: int, device: torch.device) -> tuple[list[float], list[float]]:
    """Times of both, taken in turn, each going first every other round, after two rounds to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 2):
        for which in ((0, 1), (1, 0))[i % 2]:
            spent = seconds((a, b)[which], device)
            if i >= 2:
                times[which].append(spent)
    return times


def measure(device: torch.device, precision: str, batch: int, depth: int, rounds: int) -> list[dict]:
    ours, plain = stacks(depth, device)
    Z = torch.randn(batch, TOKENS, DIM, generator=torch.Generator().manual_seed(1)).to(device)
    difference = check_equal(ours, plain, Z)
    rows = []
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for what, make in (("forward", forward), ("training step", training_step)):
            a, b = alternate(make(ours, Z), make(plain, Z), rounds, device)
            ratios = [y / x for x, y in zip(a, b, strict=True)]
            low, _, high = quantiles(ratios, n=4) if rounds > 1 else ratios * 3
            rows.append(
                {
                    "device": device.type,
                    "precision": precision,
                    "what": what,
                    "ours_ms": round(1e3 * median(a), 2),
                    "plain_ms": round(1e3 * median(b), 2),
                    "ratio": round(median(b) / median(a), 3),
                    "ratio_quartiles": [round(low, 3), round(high, 3)],
                    "relative_difference_float32": float(f"{difference:.1e}"),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="images; each has 197 tokens of 384 dimensions")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each side")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument("--no-write", action="store_true", help=f"do not write {RESULT.name}")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    if a.threads:
        torch.set_num_threads(a.threads)

    runs = [(torch.device("cpu"), "float32")]
    if torch.cuda.is_available():
        runs += [(torch.device("cuda"), "float32"), (torch.device("cuda"), "bfloat16")]
    rows = []
    print(f"{'device':7} {'precision':9} {'':13} {'ours':>10} {'plain':>10}  ratio (quartiles)")
    for device, precision in runs:
        for r in measure(device, precision, a.batch, a.depth, a.rounds):
            low, high = r["ratio_quartiles"]
            print(
                f"{r['device']:7} {r['precision']:9} {r['what']:13} {r['ours_ms']:7.1f} ms {r['plain_ms']:7.1f} ms"
                f"  {r['ratio']:.2f} ({low:.2f} to {high:.2f})",
                flush=True,
            )
            rows.append(r)
    if not a.no_write:
        devices = {d.type: provenance(d)["device"] for d, _ in runs}
        setting = {"dim": DIM, "heads": HEADS, "depth": a.depth, "tokens": TOKENS, "batch": a.batch}
        facts = provenance(runs[-1][0], setting=setting | {"rounds": a.rounds}, devices=devices, rows=rows)
        write(RESULT, facts, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
