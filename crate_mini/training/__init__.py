"""Training: a recipe, a task, one loop, one device or many, exact resume.

The randomness of epoch ``e`` comes from the seed and ``e`` alone, however many processes share the work. A run that
was stopped, even killed, goes on from what it last saved and ends with the weights it would have had.
"""

from crate_mini.training.augmentation import augment, draw_patches
from crate_mini.training.callbacks import Callback, Callbacks
from crate_mini.training.lion import Lion
from crate_mini.training.loop import default_device, show_progress, train
from crate_mini.training.masked import MaskedAutoencoding
from crate_mini.training.optimizers import learning_rate, make_optimizer
from crate_mini.training.recipe import OPTIMIZERS, Recipe
from crate_mini.training.rng import Draws
from crate_mini.training.run import Run
from crate_mini.training.selfsupervised import DINO, TASKS, SelfSupervised, SimDINO
from crate_mini.training.tasks import Classification, Task, evaluate
from crate_mini.training.writing import NextToken, Repetition, Repetitions

__all__ = [
    "DINO",
    "OPTIMIZERS",
    "TASKS",
    "Callback",
    "Callbacks",
    "Classification",
    "Draws",
    "Lion",
    "MaskedAutoencoding",
    "NextToken",
    "Recipe",
    "Repetition",
    "Repetitions",
    "Run",
    "SelfSupervised",
    "SimDINO",
    "Task",
    "augment",
    "default_device",
    "draw_patches",
    "evaluate",
    "learning_rate",
    "make_optimizer",
    "show_progress",
    "train",
]
