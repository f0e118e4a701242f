"""CRATE in one file (arXiv 2306.01129, 2308.16271)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    image_size: int = 64
    patch_size: int = 8
    dim: int = 96  # d
    heads: int = 4  # K subspaces of dimension p = d / K
    depth: int = 4
    classes: int = 10
    step: float = 0.1  # eta
    lam: float = 0.1  # lambda


class MSSA(nn.Module):
    """Compress: a token moves towards those that resemble it, K times."""

    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.project = nn.Linear(c.dim, c.dim, bias=False)  # all U_k
        self.out = nn.Linear(c.dim, c.dim)  # derived: the U_k

    def forward(self, Z):  # (b, n, d)
        Zk = self.project(Z).unflatten(-1, (self.heads, -1))
        Zk = Zk.transpose(1, 2)  # (b, K, n, p)
        A = (Zk @ Zk.mT / Zk.shape[-1] ** 0.5).softmax(-1)  # (b, K, n, n)
        return self.out((A @ Zk).transpose(1, 2).flatten(2))


class ISTA(nn.Module):
    """Sparsify: one proximal step of the non-negative LASSO."""

    def __init__(self, c):
        super().__init__()
        self.D = nn.Parameter(torch.empty(c.dim, c.dim))
        nn.init.kaiming_uniform_(self.D)
        self.step, self.lam = c.step, c.lam

    def forward(self, Y):
        down = (Y - Y @ self.D.T) @ self.D - self.lam
        return F.relu(Y + self.step * down)


class Block(nn.Module):
    """One layer: compress, then sparsify."""

    def __init__(self, c):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(c.dim), MSSA(c)
        self.norm2, self.feed = nn.LayerNorm(c.dim), ISTA(c)

    def forward(self, Z):
        return self.feed(self.norm2(Z + self.attention(self.norm1(Z))))


class CRATE(nn.Module):
    """Normalised images (b, 3, H, W) to logits (b, classes)."""

    def __init__(self, c):
        super().__init__()
        d, pixels = c.dim, 3 * c.patch_size**2
        side = c.image_size // c.patch_size
        self.patch = c.patch_size
        self.embed = nn.Sequential(
            nn.LayerNorm(pixels), nn.Linear(pixels, d), nn.LayerNorm(d)
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, d))
        self.position = nn.Parameter(torch.randn(1, 1 + side**2, d))
        self.blocks = nn.Sequential(*(Block(c) for _ in range(c.depth)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, c.classes)

    def forward(self, images):
        p = self.patch
        patches = images.unfold(2, p, p).unfold(3, p, p)  # 3, h, w, p, p
        patches = patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
        first = self.cls_token.expand(len(images), -1, -1)
        Z = torch.cat([first, self.embed(patches)], 1) + self.position
        return self.head(self.norm(self.blocks(Z))[:, 0])
