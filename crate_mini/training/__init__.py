"""Training: a recipe, a task, one loop, one device or many, exact resume.

The randomness of epoch ``e`` comes from the seed and ``e`` alone, however many processes share the work. A run that
was stopped, even killed, goes on from what it last saved and ends with the weights it would have had.
"""

from crate_mini.training.augmentation import augment, draw_patches
from crate_mini.training.lion import Lion
from crate_mini.training.loop import default_device, show_progress, train
from crate_mini.training.optimizers import learning_rate, make_optimizer
from crate_mini.training.recipe import OPTIMIZERS, Recipe
from crate_mini.training.state import Run
from crate_mini.training.tasks import evaluate

__all__ = [
    "OPTIMIZERS",
    "Lion",
    "Recipe",
    "Run",
    "augment",
    "default_device",
    "draw_patches",
    "evaluate",
    "learning_rate",
    "make_optimizer",
    "show_progress",
    "train",
]
