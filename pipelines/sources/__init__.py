"""Data sets, one a file, behind one small protocol."""

from typing import Protocol

import numpy as np

from pipelines.errors import DataError


class Source(Protocol):
    """What a data set must offer.

    Attributes:
        name: of the data set.
        classes: names; class id i + 1 is `classes[i]`.
    """

    name: str
    classes: tuple[str, ...]

    def image_ids(self, split: str) -> list[str]:
        """Photo ids of a split; "all" is every photo with a mask."""

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: 0 background, 1..C the class, 255 void."""

    def check(self, image_id: str) -> None:
        """Cheap: the files are there and photo and mask agree in size; else a `DataError`."""


def open_source(dataset: str, root: str | None = None, **options) -> Source:
    """Open a data set by name: "voc" (with `root`) or "shapes" (embedded)."""
    if dataset == "voc":
        from pipelines.sources.voc import VOCSource
        return VOCSource(root, **options)
    if dataset == "shapes":
        from pipelines.sources.shapes import ShapesSource
        return ShapesSource(**options)
    raise DataError(f"no data set {dataset!r}; known: shapes, voc")
