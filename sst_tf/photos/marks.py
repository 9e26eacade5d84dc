# SPDX-License-Identifier: Apache-2.0
"""What an object is marked by: an array of pixels, a box, strokes, outlines, or a file's shapes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """Pixels x0 <= x < x1, y0 <= y < y1 hold the whole object."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Scribbles:
    """Strokes, bool [H, W]: sure object, and (optionally) sure background."""

    foreground: np.ndarray
    background: np.ndarray | None = None


@dataclass(frozen=True)
class Polygon:
    """Outlines of the object's parts, each [N, 2] of x, y."""

    parts: list


@dataclass(frozen=True)
class Shapes:
    """All that an annotation file has of one class in one photo.

    Attributes:
        marks: `Polygon`s, `Box`es and masks [H, W] of 0, 1 and 255 (does not count); at least one.
        size: (H, W) of the photo that they were drawn on; None where the file does not say.
    """

    marks: list
    size: tuple[int, int] | None
