# SPDX-License-Identifier: Apache-2.0
"""Marks to masks, whatever a support photo is marked by.

Boxes and scribbles go through OpenCV's GrabCut, which guesses the outline: look at what it made.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.reading.masks import marked, mask_values
from pipelines.reading.photos import orientation, turn
from sst_tf.photos import formats
from sst_tf.photos.marks import Box, Polygon, Scribbles, Shapes

GRABCUT_SIDE = 512  # larger photos are cut at this size: time grows with the pixels
ITERATIONS = 5
VOID = 255
FAR = 10  # sides of the photo; OpenCV draws wrongly where numbers are very large


Mark = np.ndarray | Box | Scribbles | Polygon | Shapes | str | Path


def mask_of(mark: Mark, image: np.ndarray, what: str = "mask", photo: str | Path | None = None,
            label: str | None = None) -> tuple[np.ndarray, str]:
    """(uint8 mask [H, W] of 0, 1, 255; how it was made) for a mark on a photo.

    Args:
        mark: array [H, W] (bool; 0 and 1; 0 and 255; or 0, 1 and 255 = void), `Box`, `Scribbles`,
            `Polygon`, `Shapes`, or the path of a mask picture or of an annotation file
            (`sst_tf.photos.formats`).
        image: uint8 [H, W, 3] RGB, upright.
        what: name for messages.
        photo: the photo's path, by whose name a file of several photos knows it. Pictures, strokes
            and files of marks may be drawn on its stored pixels: where these have another size
            than the upright photo, such marks are turned. Where both fit, a warning says that
            they are taken as they are.
        label: the class's name, which selects where a file has several labels.
    Raises:
        DataError: another size than the photo's, other values, nothing marked.
    """
    if isinstance(mark, (str, Path)):
        what, path = str(mark), Path(mark)
        mark = (formats.mark_in(path, photo, label, image.shape[:2])
                if formats.is_annotation(path) else
                _upright(mask_values(path), photo, image.shape[:2]))
    elif isinstance(mark, Scribbles):
        size, beside = image.shape[:2], mark.background
        mark = Scribbles(_upright(np.asarray(mark.foreground), photo, size),
                         None if beside is None else _upright(np.asarray(beside), photo, size))
    mask, how = (_from_shapes(mark, image, what, photo) if isinstance(mark, Shapes)
                 else _single(mark, image, what))
    if not (mask == 1).any():
        raise DataError(f"{what}: nothing is marked" + (
            "; GrabCut found no object: give a polygon or a mask" if "GrabCut" in how else ""))
    return mask, how


def _single(mark, image, what):
    """(mask, how it was made) of anything but a path or `Shapes`."""
    size = image.shape[:2]
    if isinstance(mark, Box):
        return _from_box(mark, image, what), "box, by GrabCut"
    if isinstance(mark, Scribbles):
        return _from_scribbles(mark, image, what), "scribbles, by GrabCut"
    if isinstance(mark, Polygon):
        return _from_polygon(mark, size, what), "polygon"
    return _from_values(np.asarray(mark), size, what), "mask"


def _from_shapes(shapes, image, what, photo):
    """All shapes together; where one marks and another does not count, it is marked."""
    size, way_up = image.shape[:2], _way_up(photo)
    if shapes.size is None or tuple(shapes.size) == size:
        if way_up > 1 and (shapes.size is None or _keeps_sides(size, way_up)):
            _tell_both_fit(photo, way_up)
        way_up = 1
    else:
        if way_up <= 4 or tuple(shapes.size) != size[::-1]:
            raise DataError(f"{what}: marks on {_shape(shapes.size)} pixels, the photo has "
                            f"{_shape(size)} (height x width): mark this photo, or take the one "
                            "that was marked")
        # They were drawn on the pixels as stored, before the camera's tag turned the photo.
        image = np.ascontiguousarray(turn(image, {6: 8, 8: 6}.get(way_up, way_up)))
    mask, hows = np.zeros(image.shape[:2], np.uint8), []
    for mark in shapes.marks:
        # A file's masks say 255 for what does not count, also where they hold nothing else.
        one, how = ((_sized(mark, mask.shape, what), "mask") if isinstance(mark, np.ndarray)
                    else _single(mark, image, what))
        mask[(one == VOID) & (mask == 0)] = VOID
        mask[one == 1] = 1
        hows.append(how)
    return np.ascontiguousarray(turn(mask, way_up)), " and ".join(dict.fromkeys(hows))


def _upright(values, photo, size):
    """Pixels [H, W] of a picture of a mark, turned as the photo is where they fit so alone."""
    way_up = _way_up(photo)
    if values.shape != size:
        turned = turn(values, way_up)
        return turned if turned.shape == size else values
    if way_up > 1 and _keeps_sides(size, way_up):
        _tell_both_fit(photo, way_up)
    return values


def _way_up(photo):
    """EXIF orientation, 1 to 8; 1 of a photo that is known by its name alone."""
    return orientation(photo) if photo is not None and Path(photo).is_file() else 1


def _keeps_sides(size, way_up):
    return way_up <= 4 or size[0] == size[1]


def _tell_both_fit(photo, way_up):
    warnings.warn(f"{photo}: a tag turns it (EXIF orientation {way_up}), and its mark fits before "
                  "and after; taken as drawn on the upright photo", stacklevel=1)


def _from_values(values, size, what):
    return marked(_sized(values, size, what), what)


def _sized(values, size, what):
    if values.shape != tuple(size):
        raise DataError(f"{what}: {_shape(values.shape)}, its photo has {_shape(size)} (height x "
                        "width)")
    return values


def _from_polygon(polygon, size, what):
    mask = np.zeros(size, np.uint8)
    for part in polygon.parts:
        part = np.asarray(part, np.float64)
        if part.ndim != 2 or part.shape[1] != 2 or len(part) < 3 or not np.isfinite(part).all():
            raise DataError(f"{what}: a polygon is a list of parts, each of at least three points "
                            "x, y")
        if np.abs(part).max() > FAR * max(size):
            raise DataError(f"{what}: a polygon whose points lie far outside its photo; expected "
                            "pixels")
        cv2.fillPoly(mask, [np.round(part).astype(np.int32)], 1)
    return mask


def _from_box(box, image, what):
    height, width = image.shape[:2]
    x0, y0 = max(0.0, box.x0), max(0.0, box.y0)
    x1, y1 = min(float(width), box.x1), min(float(height), box.y1)
    told = f"box {box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g} (x0,y0,x1,y1)"
    finite = np.isfinite([box.x0, box.y0, box.x1, box.y1]).all()
    if not finite or x1 - x0 < 2 or y1 - y0 < 2:
        raise DataError(f"{what}: {told} holds no 2 x 2 pixels of a photo {width} wide and "
                        f"{height} high")
    # Tools round, and draw over the edge by a pixel.
    if max(x0 - box.x0, y0 - box.y0, box.x1 - x1, box.y1 - y1) > 1:
        warnings.warn(f"{what}: {told} reaches beyond the photo, {width} wide and {height} high; "
                      "cut there", stacklevel=1)
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
