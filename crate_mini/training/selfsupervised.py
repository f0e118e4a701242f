r"""Learning without labels: two networks look at views of one image, and shall say the same of it.

A student sees every view, a teacher the large ones. The teacher is a moving average of the student; no gradient reaches
it. That all agree is easy to reach by saying the same of every image, and what keeps a network from it is where the two
tasks differ:

* :class:`SimDINO` (arXiv 2502.10385) adds a coding rate to be made large: features of different images shall spread;
* :class:`DINO` (arXiv 2104.14294) lets both choose among prototypes, subtracts from the teacher's choice its mean over
  images (the centre), and sharpens it.

Features are rows of length one, ``(views, images, features)``; rates are in nats.
"""

from __future__ import annotations

import copy
import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini import distributed
from crate_mini.data.streaming import Feed
from crate_mini.neighbours import neighbour_votes
from crate_mini.rates import coding_rate, largest_rate
from crate_mini.training.masked import MaskedAutoencoding
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws
from crate_mini.training.tasks import Classification, Task, evaluation_batch
from crate_mini.training.views import Views, draw_views
from crate_mini.training.writing import NextToken

Teacher = Float[Tensor, "g b features"]
Student = Float[Tensor, "v b features"]

BANK = 5000
"""Images of the training set that the neighbours of held-out ones are looked for among."""
METER_EPS_SQ = 0.4
"""The precision of the coding rate that every task shows, whatever it learns by."""


# --- the losses ------------------------------------------------------------------------------------------------------


def over_pairs(scores: Float[Tensor, "g v"]) -> Float[Tensor, ""]:
    """The mean over all pairs of a teacher's view and another view of the student's; the large views come first."""
    other = ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    return scores[other].mean()


def alignment(teacher: Teacher, student: Student) -> Float[Tensor, ""]:
    r"""Mean cosine between what a teacher says of one view and a student of another view of the same image.

    .. math:: C = \frac{1}{|\{i \neq v\}|} \sum_{i \neq v} \frac1b \sum_a \langle t_{ia}, s_{va} \rangle

    Args:
        teacher: ``(g, b, P)``, rows of length one.
        student: ``(v, b, P)``, rows of length one, of these views and further ones.
    """
    return over_pairs(torch.einsum("gbp,vbp->gv", teacher, student) / teacher.shape[1])


def simdino_gamma(images: int, features: int, processes: int = 1) -> float:
    r"""The factor of the rate in the released SimDINO, for ``images`` on each of ``processes``.

    .. math:: \gamma = \frac{P + Nm}{P N m}
    """
    return 1 / features + 1 / (processes * images)


def simdino_loss(
    teacher: Teacher,
    student: Student,
    *,
    eps_sq: float,
    gamma: float,
    coded: str = "mean",
    together: bool = False,
) -> Float[Tensor, ""]:
    r"""Agree about an image, and spread over images (arXiv 2502.10385 and its code).

    .. math:: -C - \gamma \frac1g \sum_{i} R(F_i)

    with :math:`C` the :func:`alignment`, :math:`R` the :func:`~crate_mini.rates.coding_rate`, and :math:`F_i` the
    features of a large view, one row an image.

    Args:
        teacher: ``(g, b, P)``, rows of length one.
        student: ``(v, b, P)``, rows of length one; the large views come first.
        eps_sq: the squared precision of the rate.
        gamma: what a nat is worth. The released code takes :func:`simdino_gamma`.
        coded: whose features are coded: the student's ("type 0" of the released code), or the mean of both ("type 1",
            its default), which is shorter than one where they disagree.
        together: the rate is of the images of all processes, and not of those here ("reduce_cov").

    Raises:
        ValueError: an unknown ``coded``.
        FloatingPointError: features that are not finite.
    """
    large = student[: len(teacher)]
    if coded not in ("student", "mean"):
        raise ValueError(f"coded must be 'student' or 'mean', got {coded!r}")
    of = large if coded == "student" else (large + teacher) / 2
    if together:
        of = distributed.gather_rows(of.transpose(0, 1)).transpose(0, 1)
    if not bool(torch.isfinite(of).all()):
        raise FloatingPointError(
            "the features are NaN or infinite; lower the learning rate, warm up for longer, set clip_norm, or train in "
            "bfloat16 or float32"
        )
    return -alignment(teacher, student) - gamma * coding_rate(of, eps_sq).mean().to(student.dtype)


def dino_loss(
    teacher: Teacher,
    student: Student,
    centre: Float[Tensor, " features"],
    *,
    teacher_temperature: float = 0.04,
    student_temperature: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Choose the prototypes that the teacher chooses (arXiv 2104.14294).

    .. math:: -\sum_k p_k \log q_k, \qquad p = \mathrm{softmax}\big((t - c) / \tau_t\big), \quad
        q = \mathrm{softmax}(s / \tau_s)

    a mean over images and over pairs of different views. Where nobody prefers anything, it is the logarithm of the
    number of prototypes; where all choose one and the same, 0.

    Args:
        teacher: ``(g, b, K)``, a logit for every prototype.
        student: ``(v, b, K)``; the large views come first.
        centre: :math:`c`, ``(K,)``, what the teacher says on average: :func:`moved_centre`.
        teacher_temperature: :math:`\tau_t`; below the student's, it sharpens.
        student_temperature: :math:`\tau_s`.
    """
    p = ((teacher - centre) / teacher_temperature).softmax(-1)
    log_q = (student / student_temperature).log_softmax(-1)
    return over_pairs(-torch.einsum("gbk,vbk->gv", p, log_q) / teacher.shape[1])


def moved_centre(
    centre: Float[Tensor, " features"], mean: Float[Tensor, " features"], momentum: float = 0.9
) -> Float[Tensor, " features"]:
    """A running mean of what the teacher says, over views and images."""
    return momentum * centre + (1 - momentum) * mean


def teacher_momentum(start: float, step: int, steps: int) -> float:
    r"""How much of itself the teacher keeps in a step: from ``start`` along half a cosine up to 1.

    .. math:: 1 - (1 - m_0)\, \tfrac12 \big(1 + \cos(\pi t / T)\big)
    """
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


# --- what both tasks share -------------------------------------------------------------------------------------------


class Projector(nn.Module):
    """Three linear layers with GELU between, and length one: from a class token to the features that are compared."""

    def __init__(self, dim: int, hidden: int, features: int) -> None:
        super().__init__()
        sizes = ((dim, hidden), (hidden, hidden), (hidden, features))
        self.layers = nn.ModuleList(nn.Linear(*size) for size in sizes)
        for layer in self.layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n features"]:
        """Rows of length one, in single precision."""
        first, second, third = self.layers
        x = third(F.gelu(second(F.gelu(first(x)))))
        return F.normalize(x.float(), dim=-1)


class SelfSupervised(Task):
    """A student that shall say of every view of an image what its own moving average says of the large views.

    What is trained besides the model is a head: a :class:`Projector` of the class token, and what a task puts behind
    it. What is written in the end is the teacher's network (:meth:`outcome`), without the head; its classifier has
    learned nothing.

    Measured, on held-out images: ``loss``; ``alignment``, the mean cosine of :func:`alignment` on projected features;
    ``rate``, the coding rate of the teacher's projected features as a share of the largest
    (:func:`~crate_mini.rates.largest_rate`): where all images look alike to it, that is a few percent;
    ``knn``, where there are labels, the share of images whose class the teacher's 20 nearest training images have
    (:func:`~crate_mini.neighbours.neighbour_votes` of the class token). Labels are used for nothing else.

    Args:
        recipe: whose crops (of large views), flips and share of patches (of the student's large views) are used.
        small: how many small views the student gets.
        small_area: their smallest and largest area, as a share of the image.
        small_size: their side in pixels; by default half of the image's, on whole patches.
        hidden, features: sizes of the projector. The papers have 2048 and 256.
        momentum: of the teacher in the first step; :func:`teacher_momentum`. The papers have .996 for a million images.
        pictures: of one thing, that lie side by side in every image. View after view is cropped from one after the
            other, so that a network shall say the same of different pictures. What is read at the end, and by
            neighbours, is the first.

    Raises:
        ValueError: a number outside its range, or a recipe with ``compile``.
    """

    leaves_out = True  # the model's classifier learns nothing

    def __init__(
        self,
        recipe: Recipe,
        *,
        small: int = 4,
        small_area: tuple[float, float] = (0.1, 0.4),
        small_size: int | None = None,
        hidden: int = 256,
        features: int = 64,
        momentum: float = 0.99,
        pictures: int = 1,
    ) -> None:
        super().__init__()
        if recipe.compile:
            raise ValueError(f"{type(self).__name__} runs the network as it is: train with compile=False")
        for name, value, least in (
            ("small", small, 0), ("hidden", hidden, 1), ("features", features, 2), ("small_size", small_size or 1, 1),
            ("pictures", pictures, 1),
        ):  # fmt: skip
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in 0 to 1, got {momentum!r}")
        if len(small_area) != 2 or not 0 < small_area[0] <= small_area[1] <= 1:
            raise ValueError(f"small_area must be 0 < smallest <= largest <= 1; got {small_area}")
        self.recipe = recipe
        self.small, self.small_area, self.small_size = small, tuple(small_area), small_size
        self.hidden, self.features, self.momentum, self.pictures = hidden, features, momentum, pictures
        self.step, self.steps, self.patches, self.labelled = 0, 1, 0, False

    def settings(self) -> dict[str, Any]:
        """All that the constructor was given."""
        names = ("small", "small_area", "small_size", "hidden", "features", "momentum", "pictures")
        return {k: list(v) if isinstance(v := getattr(self, k), tuple) else v for k in names}

    def setup(self, model: nn.Module, train_set: Any, val_set: Any) -> None:
        """The teacher and the heads; whether there are labels to measure with."""
        config, (height, width) = model.config, train_set.shape[-2:]
        patch = config.patch_size
        if width % (self.pictures * patch):
            raise ValueError(
                f"images {width} pixels wide do not hold {self.pictures} pictures side by side, each of whole "
                f"patches of {patch} pixels"
            )
        side = width // self.pictures
        if self.small_size is None:
            self.small_size = max(patch, round(side / 2 / patch) * patch)
        if self.small_size % patch:
            raise ValueError(f"small_size must be a multiple of the patch, {patch}; got {self.small_size}")
        self.patches = (height // patch) * (side // patch)
        self.steps = self.recipe.epochs * (len(train_set) // min(self.recipe.batch_size, len(train_set)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            self.head = self.make_head(config.dim)
        self.teacher = copy.deepcopy(model).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.labelled = len(train_set.classes) > 1 and train_set.classes == val_set.classes
        self.metrics = ("loss", "alignment", "rate", *(("knn",) if self.labelled else ()))
        held = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(0))[:BANK]
        self._bank = train_set.subset(held) if self.labelled else None

    def make_head(self, dim: int) -> nn.Module:
        """What a task puts behind the class token; its first module is the projector."""
        return nn.Sequential(Projector(dim, self.hidden, self.features))

    def draw(self, batch: tuple[Tensor, Tensor], draws: Draws) -> Views:
        """The views of a batch; labels are left aside."""
        return draw_views(
            self._apart(batch[0]), self.recipe, draws,
            small=self.small, small_area=self.small_area, small_size=self.small_size, patches=self.patches,
        )  # fmt: skip

    def _apart(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pictures that lie side by side."""
        return images.chunk(self.pictures, dim=-1)

    def loss(self, model: nn.Module, drawn: Views) -> Tensor:
        """The task's loss of what teacher and student say of the views."""
        teacher, student = self.look(model, drawn)
        with torch.autocast(drawn.large.device.type, enabled=False):
            return self.compare(self.finish(teacher, self.teacher_head), self.finish(student, self.head))

    def look(self, model: nn.Module, drawn: Views) -> tuple[Teacher, Student]:
        """Projected features: the teacher's of the large views, the student's of all."""
        with torch.no_grad():
            teacher = self._project(self.teacher, self.teacher_head, drawn.large)
        student = [self._project(model, self.head, drawn.large, drawn.kept)]
        if drawn.small is not None:
            student.append(self._project(model, self.head, drawn.small))
        return teacher, torch.cat(student)

    @staticmethod
    def _project(model: nn.Module, head: nn.Module, views: Tensor, kept: Tensor | None = None) -> Student:
        tokens = model.forward_features(views.flatten(0, 1), kept)
        return head[0](tokens.values[:, 0]).unflatten(0, views.shape[:2])

    def finish(self, features: Student, head: nn.Module) -> Float[Tensor, "v b said"]:
        """What a task makes of projected features before it compares them."""
        return features

    @abstractmethod
    def compare(self, teacher: Teacher, student: Student) -> Tensor:
        """The loss, of what :meth:`finish` has made."""

    def after_step(self, model: nn.Module) -> None:
        """The teacher follows."""
        keep = teacher_momentum(self.momentum, self.step, self.steps)
        theirs = [*self.teacher.parameters(), *self.teacher_head.parameters()]
        torch._foreach_lerp_(theirs, [*model.parameters(), *self.head.parameters()], 1 - keep)
        self.step += 1

    def get_extra_state(self) -> dict[str, int]:
        """How many steps the teacher has followed."""
        return {"step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """As it was saved."""
        self.step = state["step"]

    def outcome(self, model: nn.Module) -> nn.Module:
        """The teacher's network."""
        return self.teacher

    def evaluate(self, model: nn.Module, feed: Feed) -> dict[str, float]:
        """Loss and features of views that are the same after every epoch; neighbours of the images as they are."""
        draws, total, seen = Draws(torch.Generator().manual_seed(0)), torch.zeros(3, dtype=torch.float64), 0
        size = min(self.recipe.batch_size, len(feed.data))
        for batch in feed.batches(torch.arange(len(feed.data)).split(size)):
            teacher, student = self.look(model, self.draw(batch, draws)._replace(kept=None))
            with torch.autocast(feed.device.type, enabled=False):
                loss = self.compare(self.finish(teacher, self.teacher_head), self.finish(student, self.head))
                rate = coding_rate(teacher[0], METER_EPS_SQ)
            n = len(batch[0])
            most = largest_rate(n, self.features, METER_EPS_SQ)
            found = torch.stack([loss, alignment(teacher, student), rate.to(loss.dtype) / most])
            total, seen = total + n * found.double().cpu(), seen + n
        measured = dict(zip(("loss", "alignment", "rate"), (total / seen).tolist(), strict=True))
        return measured | ({"knn": self._neighbours(feed)} if self.labelled else {})

    def _neighbours(self, feed: Feed) -> float:
        """Share of images whose class their nearest training images have, by the teacher's class token."""
        size = evaluation_batch(feed.device)

        def read(source: Feed) -> tuple[Tensor, Tensor]:
            parts = [
                (self.teacher.forward_features(self._apart(images)[0]).values[:, 0].float(), labels)
                for images, labels in source.batches(torch.arange(len(source.data)).split(size))
            ]
            return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

        with Feed(self._bank, feed.device, hold=False) as bank:
            known, classes = read(bank)
        asked, truth = read(feed)
        votes = neighbour_votes(known, classes, asked, len(self._bank.classes))
        return (votes.argmax(1) == truth).double().mean().item()


# --- the tasks -------------------------------------------------------------------------------------------------------


class SimDINO(SelfSupervised):
    r"""Agree about an image and spread over images: :func:`simdino_loss`.

    What a nat of the rate is worth is told by what all of it is worth: ``weight`` is :math:`\gamma` times the largest
    rate that the images of a step can have (:func:`~crate_mini.rates.largest_rate`), so that the objective stays what
    it is when batch, features or processes change. Alignment is worth at most 1. In the released code it does change:
    the published runs, 64 images on each of 8 processes, have a weight of 0.45; as many images in two processes have
    1.80, 64 images in one 2.75 (:func:`simdino_gamma`).

    Args:
        recipe: as in :class:`SelfSupervised`, with its further arguments.
        weight: of the rate; 0 leaves nothing that keeps the features apart.
        eps_sq: its squared precision.
        coded: whose features are coded, as in :func:`simdino_loss`.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        weight: float = 1.0,
        eps_sq: float = 0.05,
        coded: str = "mean",
        **settings: Any,
    ) -> None:
        super().__init__(recipe, **settings)
        if not weight >= 0 or not eps_sq > 0:
            raise ValueError(
                f"weight must not be negative and eps_sq positive; got {weight!r} and {eps_sq!r}"
            )
        if coded not in ("student", "mean"):
            raise ValueError(f"coded must be 'student' or 'mean', got {coded!r}")
        self.weight, self.eps_sq, self.coded = weight, eps_sq, coded

    def settings(self) -> dict[str, Any]:
        """All that the constructor was given."""
        return super().settings() | {"weight": self.weight, "eps_sq": self.eps_sq, "coded": self.coded}

    def compare(self, teacher: Teacher, student: Student) -> Tensor:
        """:func:`simdino_loss`; in training, the rate is of the images of all processes."""
        images = teacher.shape[1] * (distributed.world_size() if self.training else 1)
        gamma = self.weight / largest_rate(images, self.features, self.eps_sq)
        return simdino_loss(
            teacher, student, eps_sq=self.eps_sq, gamma=gamma, coded=self.coded, together=self.training
        )


class Prototypes(nn.Module):
    """Cosines with prototypes, which are rows of any length that do not count."""

    def __init__(self, features: int, prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(prototypes, features))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Student, *, frozen: bool = False) -> Float[Tensor, "v b prototypes"]:
        """Logits; ``frozen`` lets no gradient reach the prototypes."""
        weight = self.weight.detach() if frozen else self.weight
        return x @ F.normalize(weight, dim=1).mT


class DINO(SelfSupervised):
    """Choose the prototypes that the teacher chooses, centred and sharpened: :func:`dino_loss`.

    Args:
        recipe: as in :class:`SelfSupervised`, with its further arguments.
        prototypes: how many. The paper has 65,536.
        teacher_temperature, student_temperature: as in :func:`dino_loss`.
        centre_momentum: of the centre; 1 leaves it at zero, and nothing that keeps one prototype from taking all.
        frozen_epochs: during which the prototypes stay as they were drawn.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        prototypes: int = 1024,
        teacher_temperature: float = 0.04,
        student_temperature: float = 0.1,
        centre_momentum: float = 0.9,
        frozen_epochs: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(recipe, **settings)
        if isinstance(prototypes, bool) or not isinstance(prototypes, int) or prototypes < 2:
            raise ValueError(f"prototypes must be a whole number, 2 or more; got {prototypes!r}")
        if not (teacher_temperature > 0 and student_temperature > 0):
            raise ValueError(
                f"temperatures must be positive, got {teacher_temperature!r} and {student_temperature!r}"
            )
        if not 0 <= centre_momentum <= 1 or not frozen_epochs >= 0:
            raise ValueError(
                f"centre_momentum must lie in 0 to 1 and frozen_epochs be 0 or more; got {centre_momentum!r} and "
                f"{frozen_epochs!r}"
            )
        self.prototypes = prototypes
        self.teacher_temperature, self.student_temperature = teacher_temperature, student_temperature
        self.centre_momentum, self.frozen_epochs = centre_momentum, frozen_epochs
        self.register_buffer("centre", torch.zeros(prototypes))
        self._said: Tensor | None = None

    def settings(self) -> dict[str, Any]:
        """All that the constructor was given."""
        names = (
            "prototypes", "teacher_temperature", "student_temperature", "centre_momentum", "frozen_epochs",
        )  # fmt: skip
        return super().settings() | {k: getattr(self, k) for k in names}

    def make_head(self, dim: int) -> nn.Module:
        """The projector, then the prototypes."""
        return nn.Sequential(*super().make_head(dim), Prototypes(self.features, self.prototypes))

    def finish(self, features: Student, head: nn.Module) -> Float[Tensor, "v b said"]:
        """A logit for every prototype."""
        frozen = self.step * self.recipe.epochs < self.frozen_epochs * self.steps
        return head[1](features, frozen=frozen)

    def compare(self, teacher: Teacher, student: Student) -> Tensor:
        """:func:`dino_loss`."""
        if self.training:
            self._said = teacher.mean((0, 1))
        return dino_loss(
            teacher, student, self.centre,
            teacher_temperature=self.teacher_temperature, student_temperature=self.student_temperature,
        )  # fmt: skip

    def after_step(self, model: nn.Module) -> None:
        """The teacher follows, and the centre moves."""
        super().after_step(model)
        mean = distributed.sum_over_ranks(self._said) / distributed.world_size()
        self.centre.copy_(moved_centre(self.centre, mean, self.centre_momentum))


TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "simdino": SimDINO,
    "dino": DINO,
    "masked": MaskedAutoencoding,
    "next-token": NextToken,
}
"""The tasks that ``crate-mini train`` knows by name: each is made from a recipe, and settings of its own."""


def settings_of(task: type[Task]) -> dict[str, Any]:
    """What can be set of a task besides the recipe: the keyword arguments of its constructor, with their defaults."""
    found: dict[str, Any] = {}
    for kind in inspect.getmro(task):
        if "__init__" in vars(kind) and issubclass(kind, Task) and kind is not Task:
            given = inspect.signature(kind.__init__).parameters.values()
            found |= {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY and p.name not in found}
    return found
