# SPDX-License-Identifier: Apache-2.0
"""Label Studio: a JSON list of tasks, each a photo with regions in percent or a brush's bytes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from pipelines.errors import DataError
from pipelines.writing import replacing, write_text
from sst_tf.photos.formats import brush
from sst_tf.photos.formats.lists import write_list
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape, ellipse, turn_by
from sst_tf.photos.inputs import PHOTOS
from sst_tf.photos.marks import Box, Polygon

NEEDS = ()
FILE, CONFIG = "label_studio.json", "label_studio.xml"
# Label Studio reads files of its machine under this address (local storage).
LOCAL_FILES = "/data/local-files/?d="
FROM, TO, DATA = "tag", "image", "image"  # names of the control, the object, and its key in `data`


def is_mine(content: Any) -> bool:
    """An export of tasks: JSON, or JSON-MIN."""
    return isinstance(content, list) and bool(content) and all(
        isinstance(task, dict) and ("data" in task or "annotation_id" in task) for task in content)


# ---- reading -------------------------------------------------------------------------------------


def read(content: Any, path: Path) -> list[MarkedPhoto]:
    """All tasks with a photo. Predictions count where no task was annotated by somebody."""
    kind = "annotations" if any(_regions(task, "annotations") for task in content) else (
        "predictions")
    return [_photo(task, _regions(task, kind), path) for task in content]


def _regions(task, kind):
    if "data" not in task:  # JSON-MIN: the values themselves, under the control's name
        return [{"type": key, "value": one, "original_width": one["original_width"],
                 "original_height": one["original_height"]}
                for values in task.values() if isinstance(values, list)
                for one in values if isinstance(one, dict) and "original_width" in one
                for key in one if key.endswith("labels")]
    done = [one for one in task.get(kind) or [] if not one.get("was_cancelled")]
    return done[-1]["result"] if done else []


def _photo(task, regions, path):
    data = task.get("data", task)
    name = next((found for value in data.values() if isinstance(value, str)
                 and (found := _name(value)).lower().endswith(PHOTOS)), "")
    regions = [one for one in regions if "original_width" in one]
    size = (regions[0]["original_height"], regions[0]["original_width"]) if regions else None
    return MarkedPhoto(name or f"task {task.get('id')}", size, [
        Shape(str(label), _mark(one, path)) for one in regions
        for label in _labels(one)])


def _labels(region):
    """Labels of a region; a rating of it or a choice among properties is none."""
    kind, value = region["type"], region["value"]
    return (value.get(kind) if kind.endswith("labels") else None) or value.get("labels") or ()


def _name(address):
    """What an address calls a photo: the path behind "?d=" (local files), or its own path."""
    if not _is_fetched(address):
        return address.partition("://")[2].partition("/")[2]  # behind the bucket
    parts = urlsplit(address)
    return unquote(parts.query[2:] if parts.query.startswith("d=") else parts.path)


def _is_fetched(address):
    """Whether "#", "?", "&" and "%" mean something in it: in keys of s3:// and the like they do not
    """
    return "://" not in address or address.lower().startswith(("http://", "https://"))


def _mark(region, path):
    def mark(size):
        value, kind = region["value"], region["type"]
        sides = np.array([size[1], size[0]], np.float64)
        if "rle" in value:
            return brush.decode(value["rle"], size, str(path))
        if "points" in value:
            return Polygon([np.array(value["points"], np.float64) / 100 * sides])
        degrees = value.get("rotation") or 0
        if "radiusX" in value:
            return ellipse(np.array([value["x"], value["y"]]) / 100 * sides,
                           np.array([value["radiusX"], value["radiusY"]]) / 100 * sides, degrees)
        if "width" in value and "height" in value:  # turned about its first corner
            edge = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (
                np.array([value["width"], value["height"]]) / 100 * sides)
            corners = np.array([value["x"], value["y"]]) / 100 * sides + edge @ turn_by(degrees)
            return Box(*corners.min(0), *corners.max(0))
        raise DataError(f"{path}: a region of type {kind!r}; brushes, polygons, rectangles and "
                        "ellipses are read")

    return mark


# ---- writing -------------------------------------------------------------------------------------


def config(classes: list[str]) -> str:
    """The labelling interface that predictions fit, for the project's settings."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in classes)
    return (f'<View>\n  <Image name="{TO}" value="${DATA}" zoom="true"/>\n'
            f'  <BrushLabels name="{FROM}" toName="{TO}">\n{labels}\n  </BrushLabels>\n</View>\n')


def write(output: Path, answers: Iterable[Answer], classes: list[str],
          photos_at: str = LOCAL_FILES) -> Path:
    """`label_studio.json`, tasks with predictions, and `label_studio.xml`, their interface.

    Args:
        photos_at: what stands before a photo's path in the address that Label Studio fetches. Paths
            are quoted after http:// and https:// and where no scheme is named; after another one,
            such as s3://, they stay as they are.
    """
    written = quote if _is_fetched(photos_at) else str
    tasks = ({"data": {DATA: photos_at + written(answer.key)}, "predictions": [{
        "model_version": "sst-tf", "score": max(answer.scores.values(), default=0.0),
        "result": [{
            "id": f"{number}", "type": "brushlabels", "from_name": FROM, "to_name": TO,
            "original_width": answer.size[1], "original_height": answer.size[0],
            "image_rotation": 0, "score": answer.scores[name],
            "value": {"format": "rle", "rle": brush.encode(mask), "brushlabels": [name]}}
            for number, (name, mask) in enumerate(answer.masks.items(), start=1)]}]}
        for answer in answers)
    write_text(output / CONFIG, config(classes))
    with replacing(output / FILE) as partial, open(partial, "w", encoding="utf-8") as file:
        write_list(file, tasks)
        file.write("\n")
    return output / FILE
