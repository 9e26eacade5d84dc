# SPDX-License-Identifier: Apache-2.0
"""How a support photo is marked: a mask, a box, scribbles or a polygon; all become a mask.

Boxes and scribbles go through OpenCV's GrabCut, which guesses the outline: look at what it made.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.reading.masks import marked, mask_values

GRABCUT_SIDE = 512  # larger photos are cut at this size: time grows with the pixels
ITERATIONS = 5


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


Mark = np.ndarray | Box | Scribbles | Polygon | str | Path


def mask_of(mark: Mark, image: np.ndarray, what: str = "mask", photo: str | Path | None = None,
            label: str | None = None) -> tuple[np.ndarray, str]:
    """(uint8 mask [H, W] of 0, 1, 255; how it was made) for a mark on a photo.

    Args:
        mark: array [H, W] (bool; 0 and 1; 0 and 255; or 0, 1 and 255 = void), `Box`, `Scribbles`,
            `Polygon`, or the path of a mask picture or of a labelme or COCO JSON file.
        image: uint8 [H, W, 3] RGB, upright.
        what: name for messages.
        photo: the photo's path, by whose name a COCO file knows it.
        label: the class's name, which selects where a JSON file has several labels.
    Raises:
        DataError: another size than the photo's, other values, nothing marked.
    """
    if isinstance(mark, (str, Path)):
        what, path = str(mark), Path(mark)
        mark = (_from_json(path, image.shape[:2], photo, label) if path.suffix.lower() == ".json"
                else mask_values(path))
    size = image.shape[:2]
    if isinstance(mark, Box):
        mask, how = _from_box(mark, image, what), "box, by GrabCut"
    elif isinstance(mark, Scribbles):
        mask, how = _from_scribbles(mark, image, what), "scribbles, by GrabCut"
    elif isinstance(mark, Polygon):
        mask, how = _from_polygon(mark, size, what), "polygon"
    else:
        mask, how = _from_values(np.asarray(mark), size, what), "mask"
    if not (mask == 1).any():
        raise DataError(f"{what}: nothing is marked" + (
            "; GrabCut found no object: give a polygon or a mask" if "GrabCut" in how else ""))
    return mask, how


def labelme(path: str | Path, label: str | None = None) -> Polygon:
    """A labelme file's polygons and rectangles, of one label or all.

    Raises:
        DataError: no such file, another form, no shape or none of the label.
    """
    shapes = _labelme(_read_json(path), path)
    if label is not None:
        shapes = _of_label(shapes, label, path)
    return Polygon([points for _, points in shapes])


def _labelme(content, path):
    """[(label, points [N, 2])], at least one."""
    try:
        shapes = []
        for shape in content["shapes"]:
            points = np.array(shape["points"], np.float64)
            kind = shape.get("shape_type", "polygon")
            if kind == "rectangle":
                (x0, y0), (x1, y1) = points
                points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            elif kind != "polygon":
                raise DataError(f"{path}: a shape of type {kind!r}; polygons and rectangles are "
                                "read")
            shapes.append((str(shape["label"]), points))
    except DataError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no labelme file ({type(error).__name__}: {error})") from None
    if not shapes:
        raise DataError(f"{path}: no shape")
    return shapes


def _of_label(shapes, label, path):
    """The shapes of a label; DataError that lists the labels where there is none."""
    found = [shape for shape in shapes if shape[0] == label]
    if not found:
        labels = ", ".join(sorted({name for name, _ in shapes}))
        raise DataError(f"{path}: no shape of {label!r}; it shows {labels}: the class must have "
                        "one of these names")
    return found


def _coco(content, path, size, photo=None, label=None):
    """`Polygon` or mask [H, W] of the annotations that a COCO file has of a photo.

    Args:
        content: of the file.
        size: (H, W) of the photo.
        photo: its path; may be left out where the file has one photo.
        label: name of the category; may be left out where the photo shows one.
    """
    try:
        images = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        wanted = Path(photo).name if photo is not None else None
        ids = [i for i, name in images.items() if name == wanted or (
            wanted is None and len(images) == 1)]
        found = [one for one in content["annotations"] if one["image_id"] in ids]
        shown = sorted({names[one["category_id"]] for one in found})
        if len(shown) > 1:
            found = [one for one in found if names[one["category_id"]] == label]
        parts, mask = [], np.zeros(size, np.uint8)
        for one in found:
            shape = one["segmentation"]
            if isinstance(shape, list):
                parts += [np.array(part, np.float64).reshape(-1, 2) for part in shape]
            else:
                mask |= _run_lengths(shape, size, path)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no COCO file ({type(error).__name__}: {error})") from None
    if not ids:
        raise DataError(f"{path}: no photo {wanted or 'is named'}; it has "
                        f"{', '.join(sorted(images.values())[:5])}")
    if not found:
        raise DataError(f"{path}: {wanted or 'its photo'} has no annotation" + (
            f" of {label!r}; it shows {', '.join(shown)}: the class must have one of these names"
            if shown else ""))
    if mask.any() and parts:
        return mask | _from_polygon(Polygon(parts), size, str(path))
    return Polygon(parts) if parts else mask


def _from_json(path, size, photo, label):
    content = _read_json(path)
    if isinstance(content, dict) and "annotations" in content:
        return _coco(content, path, size, photo, label)
    shapes = _labelme(content, path)
    if len({name for name, _ in shapes}) > 1:
        shapes = _of_label(shapes, label, path)
    return Polygon([points for _, points in shapes])


def _read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None


def _run_lengths(shape, size, path):
    """A mask of COCO's run lengths."""
    counts = shape["counts"]
    if tuple(shape["size"]) != tuple(size):
        raise DataError(f"{path}: run lengths of {_shape(shape['size'])}, the photo has "
                        f"{_shape(size)} (height x width)")
    if isinstance(counts, str):
        try:
            from pycocotools import mask as library
        except ImportError:
            raise DataError(f"{path}: compressed run lengths need the extra `coco` (pip install "
                            "'sst-tf[coco]')") from None
        return library.decode({"size": shape["size"], "counts": counts.encode()})
    flat = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    if flat.size != size[0] * size[1]:
        raise DataError(f"{path}: run lengths of {flat.size} pixels, the photo has "
                        f"{size[0] * size[1]}")
    return flat.reshape(size, order="F")


def _from_values(values, size, what):
    if values.shape != tuple(size):
        raise DataError(f"{what}: {_shape(values.shape)}, its photo has {_shape(size)} (height x "
                        "width)")
    return marked(values, what)


def _from_polygon(polygon, size, what):
    mask = np.zeros(size, np.uint8)
    for part in polygon.parts:
        part = np.asarray(part, np.float64)
        if part.ndim != 2 or part.shape[1] != 2 or len(part) < 3 or not np.isfinite(part).all():
            raise DataError(f"{what}: a polygon has at least three points x, y")
        cv2.fillPoly(mask, [np.round(part).astype(np.int32)], 1)
    return mask


def _from_box(box, image, what):
    height, width = image.shape[:2]
    x0, y0 = max(0.0, box.x0), max(0.0, box.y0)
    x1, y1 = min(float(width), box.x1), min(float(height), box.y1)
    finite = np.isfinite([box.x0, box.y0, box.x1, box.y1]).all()
    if not finite or x1 - x0 < 2 or y1 - y0 < 2:
        raise DataError(f"{what}: box {box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g} (x0,y0,x1,y1) "
                        f"holds no 2 x 2 pixels of a photo {width} wide and {height} high")
    trimap = np.full((height, width), cv2.GC_BGD, np.uint8)
    trimap[int(y0):int(np.ceil(y1)), int(x0):int(np.ceil(x1))] = cv2.GC_PR_FGD
    return _grabcut(image, trimap)


def _from_scribbles(scribbles, image, what):
    strokes = [np.asarray(s, bool) for s in (scribbles.foreground, scribbles.background)
               if s is not None]
    for stroke in strokes:
        if stroke.shape != image.shape[:2]:
            raise DataError(f"{what}: scribbles of {_shape(stroke.shape)}, the photo has "
                            f"{_shape(image.shape[:2])} (height x width)")
    foreground = strokes[0]
    if not foreground.any():
        raise DataError(f"{what}: no stroke on the object")
    rows, columns = np.nonzero(foreground)
    trimap = np.full(foreground.shape, cv2.GC_PR_BGD, np.uint8)
    # Strokes lie inside the object: it may reach beyond them by their longest extent.
    reach = max(np.ptp(rows), np.ptp(columns)) + max(foreground.shape) // 20
    for low, high, axis in ((rows.min(), rows.max(), 0), (columns.min(), columns.max(), 1)):
        outside = np.ones(foreground.shape[axis], bool)
        outside[max(0, low - reach):high + reach + 1] = False
        trimap[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = cv2.GC_BGD
    trimap[foreground] = cv2.GC_FGD
    if len(strokes) > 1:
        trimap[strokes[1]] = cv2.GC_BGD
    return _grabcut(image, trimap)


def _grabcut(image, trimap):
    """uint8 [H, W] of 0 and 1; deterministic."""
    scale = min(1.0, GRABCUT_SIDE / max(trimap.shape))
    size = tuple(max(2, round(side * scale)) for side in trimap.shape[::-1])
    small = cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_AREA)
    marks = cv2.resize(trimap, size, interpolation=cv2.INTER_NEAREST)
    inside = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    if not inside.any():
        return np.zeros(trimap.shape, np.uint8)
    if inside.all() or not ((marks == cv2.GC_BGD) | (marks == cv2.GC_PR_BGD)).any():
        return np.ones(trimap.shape, np.uint8)  # the whole photo is marked
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(small), marks, None, *models, ITERATIONS,
                cv2.GC_INIT_WITH_MASK)
    found = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.resize(found, trimap.shape[::-1], interpolation=cv2.INTER_NEAREST)
    found[trimap == cv2.GC_BGD] = 0
    found[trimap == cv2.GC_FGD] = 1
    return found


def _shape(shape):
    return " x ".join(str(side) for side in shape)


def parse_mark(text: str) -> Mark:
    """What stands after "=" in --support: a path, `Box` or `Scribbles`."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "box":
        try:
            return Box(*map(float, rest.split(",")))
        except (TypeError, ValueError):
            raise UserError(f"--support: {text!r}: box:x0,y0,x1,y1 in pixels is expected") from None
    if colon and kind == "scribbles":
        values = mask_values(rest)
        return Scribbles(values == 255, values == 128)
    return text
