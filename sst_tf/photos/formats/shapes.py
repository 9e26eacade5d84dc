# SPDX-License-Identifier: Apache-2.0
"""What every annotation format comes down to when it is read and when it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sst_tf.photos.marks import Box, Polygon

Mark = np.ndarray | Polygon | Box
Size = tuple[int, int]  # (H, W)
CORNERS = 64  # of the polygon that stands for an ellipse


def turn_by(degrees: float) -> np.ndarray:
    """The matrix [2, 2] that turns rows of (x, y) clockwise, as y points down."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def ellipse(centre: Sequence[float], radii: Sequence[float], degrees: float = 0) -> Polygon:
    """The polygon that stands for an ellipse with its radii along x and y, turned clockwise."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    edge = np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], -1)
    return Polygon([np.array(centre) + edge @ turn_by(degrees)])


@dataclass(frozen=True)
class Shape:
    """One shape of a file.

    Attributes:
        label: name of its class.
        mark: gives the mark in pixels of a photo of (H, W); called for wanted shapes alone, as
            decoding takes time and a shape that nobody wants may be of a kind that nobody reads.
    """

    label: str
    mark: Callable[[Size], Mark]


@dataclass(frozen=True)
class MarkedPhoto:
    """A photo that a file tells of.

    Attributes:
        name: as the file has it; a path with "/" between its parts, without an ending in YOLO.
        size: (H, W); None where the file does not say.
        shapes: in the file's order.
    """

    name: str
    size: Size | None
    shapes: list[Shape]

    @property
    def labels(self) -> list[str]:
        """Names of the classes that it shows, sorted."""
        return sorted({shape.label for shape in self.shapes})


@dataclass(frozen=True)
class Answer:
    """What was found in a photo.

    Attributes:
        key: path of the photo inside the folder that was named, with "/" between its parts.
        path: of the photo; None of a video's frame.
        size: (H, W) of the upright photo.
        masks: {class: bool [H, W]} of the classes that were found.
        scores: {class: 0..1} of the same.
    """

    key: str
    path: Path | None
    size: Size
    masks: dict[str, np.ndarray]
    scores: dict[str, float]
