"""Images behind one function, in three tiers: made on the spot, found in a local folder, or downloaded.

:func:`load` returns an :class:`ImageSet` whatever the source, :func:`open_stream` an :class:`ImageStream` of what does
not fit into memory. Local data sets lie, in their usual layouts, in the folder named by ``root`` or by the
environment variable ``CRATE_MINI_DATA``::

    tiny-imagenet-200/  train/<wnid>/images/*.JPEG  val/images  val/val_annotations.txt  wnids.txt  words.txt
    imagenette2-160/, imagenette2-320/ or imagenette2/  train/<wnid>/*.JPEG  val/<wnid>/*.JPEG
    cifar-10-batches-py/, cifar-100-python/, stl10_binary/
    oxford-iiit-pet/    images/  annotations/trimaps/  annotations/{trainval,test}.txt
    caltech101/         101_ObjectCategories/<class>/image_*.jpg  Annotations/<class>/annotation_*.mat
    VOCdevkit/VOC2012/  JPEGImages/  SegmentationClass/  SegmentationObject/  ImageSets/Segmentation/<split>.txt
    coco/               val2017/  train2017/  annotations/instances_{val,train}2017.json
    pascal-part-animals/  images/  parts/  objects/  parts.json
    weizmann-horse/     images/  masks/
"""

from crate_mini.data.images import fit_image, photographs, to_patch_grid
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.data.labelled import TINY_IMAGENET_ANIMALS
from crate_mini.data.opening import as_rgb, open_image
from crate_mini.data.request import data_root
from crate_mini.data.sources import SETS, check, coco_boxes, load, open_stream, voc2012_val_masks, whereabouts
from crate_mini.data.streaming import ImageStream
from crate_mini.errors import DataError

__all__ = [
    "IGNORE",
    "SETS",
    "TINY_IMAGENET_ANIMALS",
    "DataError",
    "ImageSet",
    "ImageStream",
    "as_rgb",
    "check",
    "coco_boxes",
    "data_root",
    "fit_image",
    "load",
    "open_image",
    "open_stream",
    "photographs",
    "to_patch_grid",
    "voc2012_val_masks",
    "whereabouts",
]
