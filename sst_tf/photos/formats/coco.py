# SPDX-License-Identifier: Apache-2.0
"""COCO: one JSON file of all photos; polygons or run lengths."""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.reading.run_lengths import mask_of_run_lengths, run_lengths
from pipelines.sources.coco import refuse_tangled
from pipelines.writing import replacing
from sst_tf.photos.formats.lists import write_list
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape
from sst_tf.photos.marks import Box, Polygon

NEEDS = ()
FILE = "predictions.json"


def is_mine(content: Any) -> bool:
    """A COCO file's JSON."""
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read(content: Any, path: Path) -> list[MarkedPhoto]:
    """All photos of the file."""
    refuse_tangled(content, path)
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    shapes = defaultdict(list)
    for one in content["annotations"]:
        shapes[one["image_id"]].append(Shape(names[one["category_id"]], _mark(one, path)))
    return [MarkedPhoto(image["file_name"], _size(image), shapes[image["id"]])
            for image in content["images"]]


def _size(image):
    sides = image.get("height"), image.get("width")
    return (int(sides[0]), int(sides[1])) if all(sides) else None


def _mark(one, path):
    def mark(size):
        shape = one.get("segmentation")
        if isinstance(shape, dict):
            mask = _run_lengths(shape, size, path)
        elif shape:
            mask = Polygon([np.array(part, np.float64).reshape(-1, 2) for part in shape])
        else:
            x, y, width, height = one["bbox"]
            mask = Box(x, y, x + width, y + height)
        # Crowds count like others: they show the class, and tools call all run lengths so.
        return mask

    return mark


def _run_lengths(shape, size, path):
    """A mask [H, W] of 0 and 1 of COCO's run lengths."""
    if tuple(shape["size"]) != tuple(size):
        raise DataError(f"{path}: run lengths of {shape['size'][0]} x {shape['size'][1]}, the "
                        f"photo has {size[0]} x {size[1]} (height x width)")
    try:
        return mask_of_run_lengths(shape)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def write(output: Path, answers: Iterable[Answer], classes: list[str]) -> Path:
    """`predictions.json`: run lengths, one annotation a class and photo."""
    images: list[dict] = []
    with replacing(output / FILE) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write('{"annotations": ')
        write_list(file, _annotations(answers, classes, images))
        for key, items in (("images", images), ("categories", [
                {"id": i, "name": name} for i, name in enumerate(classes, start=1)])):
            file.write(f',\n"{key}": ')
            write_list(file, items)
        file.write("}\n")
    return output / FILE


def _annotations(answers, classes, images):
    """Annotations of the answers one by one; each photo is added to `images`."""
    numbers = itertools.count(1)
    for image_id, answer in enumerate(answers, start=1):
        images.append({"id": image_id, "file_name": answer.key, "height": answer.size[0],
                       "width": answer.size[1]})
        for name, mask in answer.masks.items():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            yield {"id": next(numbers), "image_id": image_id, "iscrowd": 0,
                   "category_id": classes.index(name) + 1, "score": answer.scores[name],
                   "area": int(mask.sum()),
                   "bbox": [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1),
                            int(rows[-1] - rows[0] + 1)],
                   "segmentation": run_lengths(mask.astype(np.uint8))}
