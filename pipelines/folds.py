# SPDX-License-Identifier: Apache-2.0
"""Which classes are novel: PASCAL-5i, COCO-20i, or named ones."""

import difflib
from collections.abc import Sequence

from pipelines.errors import DataError

PASCAL_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor")

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush")


def pascal5i(fold: int) -> tuple[str, ...]:
    """The five novel classes of PASCAL-5i: 5 fold + 1 .. 5 fold + 5 (Shaban et al., 2017)."""
    return tuple(PASCAL_CLASSES[i - 1] for i in novel_class_ids(PASCAL_CLASSES, fold=fold))


def coco20i(fold: int, layout: str = "interleaved") -> tuple[str, ...]:
    """The twenty novel classes of COCO-20i; "interleaved" (FWB, HSNet) or "contiguous" (PANet)."""
    return tuple(COCO_CLASSES[i - 1]
                 for i in novel_class_ids(COCO_CLASSES, fold=fold, layout=layout))


def novel_class_ids(classes: Sequence[str], *, fold: int | None = None,
                    novel_classes: Sequence[str] | None = None,
                    layout: str | None = None) -> tuple[int, ...]:
    """Class ids (1..C) of the novel classes.

    Args:
        classes: all names, in the data set's order.
        fold: a quarter of them, 0..3.
        novel_classes: their names instead; an empty list: no class is novel.
        layout: "contiguous" (default; the PASCAL-5i rule) or "interleaved" (default for COCO).
    Raises:
        DataError: unknown names (with the nearest known ones) or a fold out of range.
    """
    if layout not in (None, "contiguous", "interleaved"):
        raise DataError(f"layout {layout!r}: contiguous or interleaved is expected")
    if isinstance(novel_classes, str):
        raise DataError(f"data.novel_classes: {novel_classes!r}; a list of names is expected")
    if novel_classes is not None:
        for name in novel_classes:
            if name not in classes:
                near = difflib.get_close_matches(name, classes, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise DataError(f"data.novel_classes: no class {name!r} in this data set{hint}")
        return tuple(classes.index(name) + 1 for name in novel_classes)
    if fold not in (0, 1, 2, 3):
        raise DataError(f"data.fold: {fold!r}; 0, 1, 2 or 3 is expected")
    layout = layout or ("interleaved" if tuple(classes) == COCO_CLASSES else "contiguous")
    if layout == "interleaved":
        return tuple(range(fold + 1, len(classes) + 1, 4))
    quarter = len(classes) // 4
    if quarter == 0:
        raise DataError(f"data.fold: {len(classes)} classes make no four folds; give "
                        "data.novel_classes")
    return tuple(range(quarter * fold + 1, quarter * (fold + 1) + 1))
