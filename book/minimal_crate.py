"""CRATE in one file: attention and ReLU as two steps of one objective (arXiv 2306.01129, 2308.16271)."""

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
    """Compress: every token moves towards those that resemble it, once in each of K subspaces."""

    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.project = nn.Linear(c.dim, c.dim, bias=False)  # all U_k: query, key and value at once
        self.out = nn.Linear(c.dim, c.dim)  # in the derivation [U_1, ..., U_K] again

    def forward(self, Z):  # (b, n, d)
        Zk = self.project(Z).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, K, n, p)
        A = (Zk @ Zk.mT / Zk.shape[-1] ** 0.5).softmax(-1)  # (b, K, n, n)
        return self.out((A @ Zk).transpose(1, 2).flatten(2))


class ISTA(nn.Module):
    """Sparsify: one proximal gradient step of the non-negative LASSO with dictionary D."""

    def __init__(self, c):
        super().__init__()
        self.D = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(c.dim, c.dim)))
        self.step, self.lam = c.step, c.lam

    def forward(self, Y):
        residual = Y - Y @ self.D.T
        return F.relu(Y + self.step * residual @ self.D - self.step * self.lam)


class Block(nn.Module):
    """One layer: compress, then sparsify."""

    def __init__(self, c):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(c.dim), MSSA(c)
        self.norm2, self.feed = nn.LayerNorm(c.dim), ISTA(c)

    def forward(self, Z):
        return self.feed(self.norm2(Z + self.attention(self.norm1(Z))))


class CRATE(nn.Module):
    """Images, normalised, ``(b, 3, H, W)``, to logits ``(b, classes)``, read from the class token."""

    def __init__(self, c):
        super().__init__()
        self.patch, pixels = c.patch_size, 3 * c.patch_size**2
        self.embed = nn.Sequential(nn.LayerNorm(pixels), nn.Linear(pixels, c.dim), nn.LayerNorm(c.dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, c.dim))
        self.position = nn.Parameter(torch.randn(1, 1 + (c.image_size // c.patch_size) ** 2, c.dim))
        self.blocks = nn.Sequential(*(Block(c) for _ in range(c.depth)))
        self.norm, self.head = nn.LayerNorm(c.dim), nn.Linear(c.dim, c.classes)

    def forward(self, images):
        p = self.patch
        patches = images.unfold(2, p, p).unfold(3, p, p)  # (b, 3, h, w, p, p)
        patches = self.embed(patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2))
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])
