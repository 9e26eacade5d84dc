# SPDX-License-Identifier: Apache-2.0
"""Data sets, one a file, behind one small protocol."""

import importlib
import inspect
import os
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np

from pipelines.errors import DataError


class Source(Protocol):
    """What a data set must offer.

    Attributes:
        name: of the data set.

    A source with `files(image_id)`, the paths that a photo's masks depend on, has its index kept on
    disk (`pipelines.index.read_facts`). One whose photos do not all label all classes has
    `labels(image_id)`, the class ids that the photo's mask knows: of no other can its absence be
    told. One that keeps photos at one size has `stored_size`, and one that knows what the index
    needs has `facts(image_id)` (`pipelines.sources.records`).
    """

    name: str

    @property
    def classes(self) -> Sequence[str]:
        """Names; class id i + 1 is `classes[i]`."""


    def image_ids(self, split: str) -> list[str]:
        """Photo ids of a split; "all" is every photo with a mask."""

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [H, W] of 0, 1 and 255 (void)} of the classes with a pixel in it."""

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class, 255 void and other classes of `ignore_ids`, else 0."""

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: 0 background, 1..C one class a pixel, 255 void."""

    def check(self, image_id: str) -> None:
        """Cheap: the files are there and photo and mask agree in size; else a `DataError`."""


def options_of(source: object) -> dict[str, bool | int | float | str]:
    """Attributes of a source and its parts that are flags, numbers or text, by name.

    They may change its masks while its files stay as they are.
    """
    found = {key: value for key, value in sorted(getattr(source, "__dict__", {}).items())
             if isinstance(value, (bool, int, float, str))}
    for name, part in getattr(source, "parts", {}).items():
        inner = options_of(getattr(part, "source", None))
        found |= {f"{name}: {key}": value for key, value in inner.items()}
    return found


KINDS = {"coco": ("pipelines.sources.coco", "COCOSource"),
         "folder": ("pipelines.sources.folder", "FolderSource"),
         "joined": ("pipelines.sources.joined", "JoinedSource"),
         "shapes": ("pipelines.sources.shapes", "ShapesSource"),
         "voc": ("pipelines.sources.voc", "VOCSource")}


def open_source(dataset: str, root: str | os.PathLike | None = None, **options: Any) -> Source:
    """Open a data set by name: "shapes" (embedded), "voc", "coco" or "folder" with `root`, or
    "joined" with `parts`. A `root` of records (`pipelines.prepare.records`) is opened as such.
    """
    from pipelines.sources.records import RecordsSource, is_records
    if dataset in ("voc", "coco", "folder") and is_records(root):
        named = [key for key, value in options.items() if value is not None]
        if named:
            raise DataError(f"{root}: records bring their own classes; leave data.{named[0]} out")
        return RecordsSource(root, dataset)  # type: ignore[arg-type]
    if dataset not in KINDS:
        raise DataError(f"no data set {dataset!r}; known: {', '.join(sorted(KINDS))}")
    module, name = KINDS[dataset]
    kind = getattr(importlib.import_module(module), name)
    known = inspect.signature(kind).parameters
    if "root" in known or root is not None:
        options["root"] = root
    for key, value in options.items():
        if key not in known and value is not None:
            raise DataError(f"{key} {value!r}: a data set of the layout {dataset} has none; it "
                            f"takes {', '.join(known)}")
    return kind(**{key: value for key, value in options.items() if key in known})
