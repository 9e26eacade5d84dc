# SPDX-License-Identifier: Apache-2.0
"""labelme: a JSON file a photo, `shapes` in pixels of the upright photo."""

import base64
import binascii
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.reading.masks import mask_values
from sst_tf.photos.formats.folder import Folder
from sst_tf.photos.formats.outlines import outlines
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape, ellipse
from sst_tf.photos.marks import Polygon

NEEDS = ()
VERSION = "5.5.0"  # of labelme, whose form this is


def is_mine(content: Any) -> bool:
    """A labelme file's JSON."""
    return isinstance(content, dict) and "shapes" in content


def read(content: Any, path: Path) -> list[MarkedPhoto]:
    """The photo of one file."""
    name = str(content.get("imagePath") or path.stem)
    sides = content.get("imageHeight"), content.get("imageWidth")
    size = (int(sides[0]), int(sides[1])) if all(sides) else None
    return [MarkedPhoto(name, size, [_shape(shape, path) for shape in content["shapes"]])]


def _shape(shape, path):
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], np.float64).reshape(-1, 2)

    def mark(size):
        # Tools that grew out of labelme give a rectangle all corners, and know turned ones.
        if kind == "polygon" or kind in ("rectangle", "rotation") and len(points) == 4:
            return Polygon([points])
        if kind == "rectangle" and len(points) == 2:
            (x0, y0), (x1, y1) = points
            return Polygon([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])])
        if kind == "circle" and len(points) == 2:
            radius = np.hypot(*(points[1] - points[0]))
            return ellipse(points[0], (radius, radius))
        if kind == "mask" and shape.get("mask"):
            return _mask(shape["mask"], points, size, path)
        raise DataError(f"{path}: a shape of type {kind!r} marks {shape['label']!r}; polygons, "
                        "rectangles, circles and masks are read")

    return Shape(str(shape["label"]), mark)


def _mask(text, points, size, path):
    """A mask that was cut out at its box (both corners inclusive) and kept as a PNG."""
    try:
        cut = mask_values(base64.b64decode(text, validate=True), f"{path}: mask")
    except binascii.Error:
        raise DataError(f"{path}: a mask that is no base64") from None
    mask = np.zeros(size, np.uint8)
    x, y = np.round(points.min(0)).astype(int)
    if x < 0 or y < 0 or y + cut.shape[0] > size[0] or x + cut.shape[1] > size[1]:
        raise DataError(f"{path}: a mask that reaches out of its photo")
    mask[y:y + cut.shape[0], x:x + cut.shape[1]] = cut > 0
    return mask


def write(output: Path, answers: Iterable[Answer], classes: list[str],
          videos: Collection[str] | None = None) -> Folder:
    """`labelme/NAME.json` of each photo; parts of one object share a group. `Folder` has `videos`.
    """
    folder = Folder(output / "labelme", videos=videos)
    for answer in answers:
        target = folder.path(answer.key, ".json")
        shapes = []
        for group, (name, mask) in enumerate(answer.masks.items(), start=1):
            parts = outlines(mask)
            shapes += [{"label": name, "points": part.tolist(), "shape_type": "polygon",
                        "group_id": group if len(parts) > 1 else None, "description": "",
                        "flags": {}, "mask": None} for part in parts]
        photo = os.path.relpath(answer.path, target.parent) if answer.path else answer.key
        folder.add(target, json.dumps({
            "version": VERSION, "flags": {}, "shapes": shapes, "imagePath": Path(photo).as_posix(),
            "imageData": None, "imageHeight": answer.size[0], "imageWidth": answer.size[1],
        }, indent=1, ensure_ascii=False).encode())
    return folder.close()
