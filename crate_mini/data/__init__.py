"""Images behind one function, in three tiers: made on the spot, found in a local folder, or downloaded.

:func:`load` returns an :class:`ImageSet` whatever the source. Local data sets lie, in their usual layouts, in the
folder named by ``root`` or by the environment variable ``CRATE_MINI_DATA``::

    tiny-imagenet-200/  train/<wnid>/images/*.JPEG  val/images  val/val_annotations.txt  wnids.txt  words.txt
    oxford-iiit-pet/    images/  annotations/trimaps/  annotations/{trainval,test}.txt
    weizmann-horse/     images/  masks/
    cifar-10-batches-py/, cifar-100-python/
"""

from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.data.sources import (
    SETS,
    TINY_IMAGENET_ANIMALS,
    DataError,
    data_root,
    fit_image,
    load,
    open_image,
    photographs,
    to_patch_grid,
    whereabouts,
)

__all__ = [
    "IGNORE",
    "SETS",
    "TINY_IMAGENET_ANIMALS",
    "DataError",
    "ImageSet",
    "data_root",
    "fit_image",
    "load",
    "open_image",
    "photographs",
    "to_patch_grid",
    "whereabouts",
]
