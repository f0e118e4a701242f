r"""A model of text: characters in, a guess at the next one out.

Embedding, the encoder of :mod:`crate_mini.model` under a causal mask, and a head that is the embedding once more: what
comes after the characters :math:`c_1 \dots c_i` is

.. math:: P(c_{i+1} = a \mid c_1 \dots c_i) = \mathrm{softmax}_a\, \langle z_i, e_a \rangle ,

with :math:`z_i` the token behind the last LayerNorm and :math:`e_a` the embedding of :math:`a`. CRATE and GPT are this
class, with other operators named. The last LayerNorm is needed: ISTA's codes take the tokens' place and have no
negative entry, so that without it no logit could be far from its neighbours (the first code of arXiv 2410.16443 has
none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from crate_mini.embeddings import TokenEmbedding, Tokens
from crate_mini.model import Encoder, EncoderConfig
from crate_mini.operators import causal_mask

START = 0.1
"""Standard deviation of characters and positions before training. Drawn as large as images' they would say, through
the tied head, that every character is followed by itself. The encoder starts as it does for images."""


@dataclass(frozen=True)
class LanguageConfig(EncoderConfig):
    """Everything that fixes a language model's shape and arithmetic: the encoder's settings, and what a text is.

    Attributes:
        alphabet: its characters, each once, in the order of their numbers.
        length: how many characters it looks at.
    """

    alphabet: str = ""
    length: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.alphabet) < 2:
            raise ValueError(f"an alphabet has two characters or more, got {self.alphabet!r}")
        if twice := [c for c, n in Counter(self.alphabet).items() if n > 1]:
            raise ValueError(f"every character stands once in an alphabet; {twice[0]!r} stands there again")
        if not isinstance(self.length, int) or self.length < 1:
            raise ValueError(f"length must be a positive integer, got {self.length!r}")


class LanguageModel(nn.Module):
    """A causal CRATE and, with other operators named in the config, a GPT.

    Takes numbers of characters ``(b, n)``, at most ``config.length`` of them, and returns for every one the logits of
    what comes next, ``(b, n, characters)``.

    Attributes:
        config: all that fixes its shape and arithmetic.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(len(config.alphabet), config.dim, config.length)
        self.encoder = Encoder(config)
        self.register_buffer("mask", causal_mask(config.length), persistent=False)
        nn.init.normal_(self.embedding.words.weight, std=START)
        nn.init.normal_(self.embedding.position, std=START)

    def forward(self, numbers: Int[Tensor, "b n"]) -> Float[Tensor, "b n characters"]:
        """Logits of the character that comes after each; what comes later changes nothing.

        Raises:
            ValueError: more characters than ``config.length``, or a number that is not in the alphabet.
        """
        return self.forward_head(self.forward_features(numbers))

    def forward_features(self, numbers: Int[Tensor, "b n"]) -> Tokens:
        """The tokens behind the last LayerNorm."""
        tokens, n = self.embedding(numbers), numbers.shape[-1]
        return tokens._replace(values=self.encoder(tokens.values, self.mask[:n, :n]))

    def forward_head(self, features: Tokens) -> Float[Tensor, "b n characters"]:
        """Logits, from what :meth:`forward_features` returned: inner products with the embeddings."""
        return F.linear(features.values, self.embedding.words.weight)


def text_losses(
    model: LanguageModel, numbers: Int[Tensor, " n"], *, batch_size: int = 64
) -> Float[Tensor, " n-1"]:
    r"""Of every character but the first how surprising it is, given those before it: :math:`-\log P`, in nats.

    The model looks at windows of ``config.length`` characters. Each begins half a window after the one before, and of
    all but the first the second half counts, so that every character is guessed from half a window or more, as far as
    the text has it. Mode and gradients are the caller's business.
    """
    length = model.config.length
    half = max(1, length // 2)
    device, n = next(model.parameters()).device, len(numbers) - 1
    starts = torch.arange(0, max(1, n - length + half), half)
    found = torch.zeros(n)
    for some in starts.split(batch_size):
        at = (some[:, None] + torch.arange(length)).clamp(max=n - 1)  # behind the end the last is seen again
        guess = model(numbers[at].to(device)).float()
        losses = F.cross_entropy(
            guess.flatten(0, 1), numbers[at + 1].to(device).flatten(), reduction="none"
        ).cpu()
        losses, counted = losses.view(at.shape), (some[:, None] + torch.arange(length)) < n
        counted &= (torch.arange(length) >= length - half) | (some[:, None] == 0)
        found[at[counted]] = losses[counted]
    return found


@torch.no_grad()
def write(
    model: LanguageModel,
    start: Int[Tensor, "b m"],
    count: int,
    *,
    temperature: float | int = 1.0,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "b longer"]:
    r"""Go on writing: each character is drawn from what the model says of the last ``config.length``.

    Args:
        model: in evaluation mode.
        start: what there is, a row for each of the texts that are written side by side; one character at least.
        count: how many characters to add.
        temperature: logits are divided by it; 0 takes the likeliest.
        generator: of the draws; PyTorch's own if None.

    Raises:
        ValueError: a temperature below 0, or nothing to go on from.
    """
    if temperature < 0 or not start.shape[-1]:
        raise ValueError(
            f"writing needs a temperature of 0 or above, got {temperature}, and a character to begin with, got "
            f"{start.shape[-1]}"
        )
    for _ in range(count):
        logits = model(start[:, -model.config.length :])[:, -1].float().cpu()
        if temperature:
            drawn = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        else:
            drawn = logits.argmax(-1, keepdim=True)
        start = torch.cat([start, drawn.to(start.device)], 1)
    return start


SIZES: Mapping[str, Mapping[str, Any]] = {
    "crate_text": {"dim": 96, "heads": 4, "depth": 4},
    "gpt_text": {"dim": 48, "heads": 4, "depth": 4, "attention": "mhsa", "feed": "mlp"},
}
"""Language models by name: a CRATE, and a GPT of about as many parameters."""


def create_language_model(name: str, alphabet: str, length: int = 64, **changes: Any) -> LanguageModel:
    """A language model by name, freshly initialised by PyTorch's global generator.

    Args:
        name: one of :data:`SIZES`.
        alphabet: of the text it is for.
        length: how many characters it looks at.
        changes: any other field of :class:`LanguageConfig`.

    Raises:
        ValueError: an unknown name, or settings that do not fit.
    """
    if name not in SIZES:
        raise ValueError(f"unknown language model {name!r}; known are {', '.join(SIZES)}")
    return LanguageModel(
        LanguageConfig.from_dict({**SIZES[name], **changes, "alphabet": alphabet, "length": length})
    )
