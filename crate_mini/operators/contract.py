"""What is asked of an operator, the table of names, and masks: see :mod:`crate_mini.operators`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from crate_mini.compression import Mask as Mask


class CannotAnswer(ValueError):
    """An operator was asked for what it does not have."""


class Layout(NamedTuple):
    """Where tokens come from, for an attention that asks.

    Attributes:
        prefix: how many tokens come first that stand for no place, such as the class token.
        grid: rows and columns that the rest is laid out in, row by row; None if it is in no grid.
    """

    prefix: int
    grid: tuple[int, int] | None


# ---- the contracts --------------------------------------------------------------------------------------------------


class Attention(nn.Module, ABC):
    r"""What every reader may ask of an attention.

    An attention begins with :attr:`project`, a module that sees each token on its own and is called once a forward
    pass; then the tokens meet. Readers look between the two: what ``project`` returned they hand to
    :meth:`coordinates`, :meth:`queries_keys` or :meth:`scores`, so that nothing is computed twice.

    A constructor's arguments are settings of the model: fields of its config (``dim``, ``heads``, ``head_dim``,
    ...) or keys of ``options``, by name.

    Attributes:
        heads: number of heads ``K``.
        head_dim: dimension ``p`` of a head's coordinates.
        project: tokens ``(b, n, d)`` to whatever the operator computes of each alone, ``(b, n, ...)``.
        out: the module that takes what the heads gathered, side by side, ``(b, n, K p)``, back to tokens. None if
            there is none.
        symmetric: whether queries and keys are one and the same projection.
        on_grid: whether :meth:`forward` takes a third argument, the :class:`Layout` of the tokens.
    """

    heads: int
    head_dim: int
    project: nn.Module
    out: nn.Module | None
    symmetric: ClassVar[bool] = False
    on_grid: ClassVar[bool] = False

    @abstractmethod
    def forward(self, Z: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens, not the updated tokens.

        Args:
            Z: tokens behind their LayerNorm.
            mask: who may look at whom; None is everyone at everyone.
        """

    @property
    @abstractmethod
    def U(self) -> Float[Tensor, "K d p"]:
        """The bases that :meth:`coordinates` projects on, differentiable."""

    @abstractmethod
    def coordinates(self, projected: Tensor) -> Float[Tensor, "b K n p"]:
        """Coordinates of the tokens in every head, from what :attr:`project` returned."""

    @abstractmethod
    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Multiply-adds of a forward pass over ``batch`` sequences of ``tokens`` each, by part.

        Parts are ``"linear maps"`` and ``"attention"``, or others with a name of their own.
        """

    def queries_keys(self, projected: Tensor) -> tuple[Float[Tensor, "b K n p"], Float[Tensor, "b K n p"]]:
        """Queries and keys, from what :attr:`project` returned: token ``i`` looks at ``j`` by ``<q_i, k_j>``.

        Raises:
            CannotAnswer: an operator without them, in which no token looks at another.
        """
        raise CannotAnswer(f"{type(self).__name__} has no queries and keys: no token looks at another")

    def scores(self, projected: Tensor, queries: slice | Tensor) -> Float[Tensor, "b K q n"]:
        r"""What chosen tokens answer to: :math:`p^{-1/2}\langle q_i, k_j\rangle`, before the softmax.

        Args:
            projected: what :attr:`project` returned.
            queries: numbers of the tokens that ask. No ``n x n`` matrix is formed for a few of them.

        Raises:
            CannotAnswer: as :meth:`queries_keys`.
        """
        q, k = self.queries_keys(projected)
        return q[:, :, queries] @ k.mT / k.shape[-1] ** 0.5

    def memberships(self, projected: Tensor) -> Float[Tensor, "b K n"]:
        """How much of each token belongs to each head, summing to one over the heads, from what ``project`` returned.

        Raises:
            CannotAnswer: an operator that does not share tokens out among its heads.
        """
        raise CannotAnswer(f"{type(self).__name__} has no memberships: its heads do not share tokens out")

    @property
    def output_map(self) -> Float[Tensor, "K d p"] | None:
        """The learned map from each head's coordinates to tokens, in the place of ``U``; None if nothing is learned.

        None, too, where no one basis corresponds to it, as with queries, keys and values apart.
        """
        return None

    def page_settings(self) -> dict[str, Any] | None:
        """What ``crate.js`` needs to know to run this operator in a page; None if no page can."""
        return None


class SubspaceAttention(Attention):
    """An attention in which each head sees the tokens in one subspace: ``project`` is the bases, side by side.

    MSSA, TSSA and CBSA are such. ``project`` is a linear map without bias to ``heads * head_dim`` numbers, and ``out``
    a linear map back, or None where the bases themselves lead back.
    """

    @property
    def U(self) -> Float[Tensor, "K d p"]:
        """The bases, a view of the projection's weight."""
        return rearrange(self.project.weight, "(k p) d -> k d p", k=self.heads)

    def coordinates(self, projected: Tensor) -> Float[Tensor, "b K n p"]:
        """Coordinates in every subspace, ``Z U_k``."""
        return rearrange(projected, "b n (k p) -> b k n p", k=self.heads)

    @property
    def output_map(self) -> Float[Tensor, "K d p"] | None:
        """``W_k`` of each head; None without ``out``, where the output map is the basis itself."""
        return None if self.out is None else rearrange(self.out.weight, "d (k p) -> k d p", k=self.heads)


class Feed(nn.Module, ABC):
    """What every reader may ask of a feed. Its constructor's arguments are settings of the model, as attention's.

    Attributes:
        skip: whether the block adds the tokens to what the feed returns. If not, it takes their place.
    """

    skip: bool = True

    @abstractmethod
    def forward(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What the feed makes of each token, on its own; ``Y`` are tokens behind their LayerNorm."""

    @abstractmethod
    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Multiply-adds of a forward pass over ``batch`` sequences of ``tokens`` each, under the part ``"feed"``."""

    def code(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n m"]:
        """The sparse code of each token, wherever in the operator it arises; ``Y`` as for :meth:`forward`.

        Raises:
            CannotAnswer: a feed without.
        """
        raise CannotAnswer(f"{type(self).__name__} has no sparse code")

    @property
    def neurons(self) -> nn.Module:
        """The module whose output are the units of this feed, a number each for every token; to be looked at by hooks.

        Raises:
            CannotAnswer: a feed without.
        """
        raise CannotAnswer(f"{type(self).__name__} has no module whose output are units")

    @property
    def writes(self) -> Float[Tensor, "m d"]:
        """What each of the :attr:`neurons` adds to the token that leaves the feed, for each 1 that it is.

        Raises:
            CannotAnswer: a feed without, or whose units do not lead to tokens by a linear map.
        """
        raise CannotAnswer(f"{type(self).__name__} has no units that write to tokens by a linear map")

    @property
    def dictionary(self) -> Float[Tensor, "d m"] | None:
        """The dictionary whose columns are the atoms of a sparse code; None if there is none."""
        return None

    def page_settings(self) -> dict[str, Any] | None:
        """What ``crate.js`` needs to know to run this operator in a page; None if no page can."""
        return None


# ---- the registry ---------------------------------------------------------------------------------------------------

ATTENTIONS: dict[str, type[Attention]] = {}
"""Every attention by the name that a config gives it."""
FEEDS: dict[str, type[Feed]] = {}
"""Every feed by the name that a config gives it."""

Operator = TypeVar("Operator", bound=type)


def register(name: str) -> Callable[[Operator], Operator]:
    """Let configs name this operator: ``attention=name`` or ``feed=name``, by the contract that the class fulfils.

    Raises:
        TypeError: the class is neither an :class:`Attention` nor a :class:`Feed`, or leaves part of it open.
        ValueError: the name belongs to another class. (To run a definition again, as in a notebook, is fine.)
    """

    def enter(cls: Operator) -> Operator:
        if not issubclass(cls, Attention | Feed):
            raise TypeError(f"{cls.__name__} must be a subclass of Attention or of Feed to be an operator")
        if inspect.isabstract(cls):
            raise TypeError(f"{cls.__name__} must define {', '.join(sorted(cls.__abstractmethods__))}")
        table = ATTENTIONS if issubclass(cls, Attention) else FEEDS
        known = table.get(name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{name!r} is the name of {known.__qualname__} of {known.__module__} already")
        table[name] = cls
        return cls

    return enter


def settings_of(operator: type[Attention] | type[Feed]) -> dict[str, bool]:
    """The settings that an operator takes, and whether it needs them: names of its constructor's arguments."""
    parameters = inspect.signature(operator).parameters.values()
    return {
        p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def build(operator: type[Attention] | type[Feed], settings: Mapping[str, Any]) -> Any:
    """An operator from the settings of a model, of which it takes those that it knows.

    Raises:
        ValueError: one that it needs is not there.
        TypeError: an attention whose constructor leaves out part of the contract.
    """
    wanted = settings_of(operator)
    if missing := [name for name, needed in wanted.items() if needed and name not in settings]:
        raise ValueError(f"{operator.__name__} needs {', '.join(missing)}; say so in options={{...}}")
    made = operator(**{name: settings[name] for name in wanted if name in settings})
    if issubclass(operator, Attention):
        promised = ("heads", "head_dim", "project", "out")
        if missing := [name for name in promised if not hasattr(made, name)]:
            raise TypeError(
                f"the constructor of {operator.__name__} must set {', '.join(missing)}: see Attention"
            )
    return made


# ---- masks ----------------------------------------------------------------------------------------------------------


def causal_mask(n: int, device: torch.device | str | None = None) -> Bool[Tensor, "n n"]:
    """Every token may look at itself and at those before it."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


def padding_mask(present: Bool[Tensor, "b n"]) -> Bool[Tensor, "b 1 1 n"]:
    """No token may look at padding: ``present`` says which tokens of each sequence are there, one at least."""
    return present[:, None, None, :]
