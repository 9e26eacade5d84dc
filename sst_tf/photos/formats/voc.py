# SPDX-License-Identifier: Apache-2.0
"""PASCAL VOC: a palette PNG a photo under `SegmentationClass`; boxes in an XML file a photo."""

import io
from collections.abc import Collection, Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.folds import PASCAL_CLASSES
from pipelines.reading.files import open_picture
from pipelines.reading.lists import read_lines
from sst_tf.photos.formats.folder import Folder
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape
from sst_tf.photos.inputs import files_in
from sst_tf.photos.marks import Box, Polygon

NEEDS = ()
MASKS = "SegmentationClass"
LABELMAP = "labelmap.txt"  # of CVAT: name:red,green,blue:parts:actions
NAMES = "classes.txt"  # a name a line
LIST = "ImageSets/Segmentation/default.txt"  # of photos, a name a line
VOID = 255
BACKGROUND = ("background", "_background_", "__ignore__")


def is_mine(folder: Path) -> bool:
    """A folder of VOC layout, in any of the spellings of tools."""
    return _masks(folder) is not None


def _masks(folder):
    # labelme2voc writes arrays, palette PNGs and pictures to look at, under changing names.
    found = [folder / name for name in (MASKS, f"{MASKS}PNG", f"{MASKS}Aug")
             if (folder / name).is_dir()]
    return next((path for path in found if files_in(path, (".png",))), found[0] if found else None)


# ---- reading -------------------------------------------------------------------------------------


def read_folder(folder: Path) -> list[MarkedPhoto]:
    """Photos that have a mask, and those that have an XML file alone."""
    masks, photos = _masks(folder), {}
    colours, names = _classes(folder)
    for path in files_in(masks, (".png",)):
        name = path.relative_to(masks).with_suffix("").as_posix()
        values = _values(path, colours)
        photos[name] = MarkedPhoto(name, values.shape, [
            Shape(names.get(int(number), f"class {number}"), _mask_of(path, colours, number))
            for number in np.unique(values) if number not in (0, VOID)])
    for path in files_in(folder / "Annotations", (".xml",)):
        name = path.relative_to(folder / "Annotations").with_suffix("").as_posix()
        if name not in photos:
            photos[name] = read(ElementTree.parse(path).getroot(), path)[0]
    return list(photos.values())


def _classes(folder):
    """({colour: number} or None where pixels are numbers, {number: name})."""
    if (folder / LABELMAP).is_file():
        rows = [line.split(":") for line in
                read_lines(folder / LABELMAP)
                if line.strip() and not line.startswith("#")]
        rows = [("background", "0,0,0")] + [row for row in rows if row[0] not in BACKGROUND]
        colours = {tuple(int(part) for part in row[1].split(",")): number
                   for number, row in enumerate(rows) if row[1]}
        return colours, dict(enumerate(row[0] for row in rows))
    for file in ("class_names.txt", NAMES):
        if (folder / file).is_file():
            lines = _lines(folder / file)
            names = [line for line in lines if line not in BACKGROUND]
            return None, dict(enumerate(names, start=1))
    return None, dict(enumerate(PASCAL_CLASSES, start=1))


def _values(path, colours):
    """uint8 [H, W] of class numbers, 255 does not count."""
    with open_picture(path, "mask") as picture:
        if picture.mode in ("L", "P", "1") and colours is None:
            return np.asarray(picture)
        if colours is None:
            raise DataError(f"{path}: a mask in colours, and no {LABELMAP} that says which "
                            "colour is which class")
        pixels = np.asarray(picture.convert("RGB")).astype(np.uint32)
    coded = pixels @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    values = np.full(coded.shape, VOID, np.uint8)
    for (red, green, blue), number in colours.items():
        values[coded == (red << 16 | green << 8 | blue)] = number
    return values


def _mask_of(path, colours, number):
    def mark(size):  # reads the picture again: those of a data set do not fit in memory
        values = _values(path, colours)
        return np.where(values == number, 1, np.where(values == VOID, VOID, 0)).astype(np.uint8)

    return mark


def read(root: ElementTree.Element, path: Path) -> list[MarkedPhoto]:
    """The photo of one XML file: boxes, and polygons where a tool wrote them."""
    height, width = root.findtext("size/height"), root.findtext("size/width")
    size = (int(float(height)), int(float(width))) if height and width else None
    return [MarkedPhoto(root.findtext("filename") or path.stem, size, [
        Shape(one.findtext("name") or "", _object(one, path)) for one in root.iter("object")])]


def _object(one, path):
    def mark(size):
        # Pixels count from 1 and the last is inside.
        if (polygon := one.find("polygon")) is not None:
            values = {child.tag: float(child.text or "nan") for child in polygon}
            count = len(values) // 2
            return Polygon([np.array([[values[f"x{i}"] - 1, values[f"y{i}"] - 1]
                                      for i in range(1, count + 1)])])
        corners = [one.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if not all(corners):
            raise DataError(f"{path}: an object without a box")
        x0, y0, x1, y1 = (float(corner or "nan") for corner in corners)
        return Box(x0 - 1, y0 - 1, x1, y1)

    return mark


# ---- writing -------------------------------------------------------------------------------------


def palette(count: int = 256) -> np.ndarray:
    """VOC's colours, uint8 [count, 3]: the bits of a number, dealt to red, green and blue."""
    numbers, colours = np.arange(count), np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8)
    return colours


def refuse_unlistable(classes: Iterable[str]) -> None:
    """Lists of class names have a name a line, `labelmap.txt` colons behind it.

    Raises:
        DataError: a name that would be read back as another, or as none.
    """
    for name in classes:
        if ":" in name or name.startswith("#") or name in BACKGROUND or name != name.strip():
            raise DataError(f"class {name!r}: in VOC's {LABELMAP} it would be another name or "
                            "none; choose one without colon, # or blanks at its ends that is not "
                            f"{BACKGROUND[0]}, or leave out --format voc")


def write(output: Path, answers: Iterable[Answer], classes: list[str],
          videos: Collection[str] | None = None) -> Folder:
    """`voc/`: masks, the list of photos, class names (a line each, and CVAT's with colours).

    The list has photos of earlier runs whose masks stay, too. `Folder` has `videos`.
    """
    folder, colours = Folder(output / "voc", MASKS, videos), palette()
    listed = folder.root / NAMES
    classes = folder.numbered(listed, _lines(listed), classes)
    before, keys = _lines(folder.root / LIST), set()
    for answer in answers:
        index = np.zeros(answer.size, np.uint8)
        for name, mask in answer.masks.items():
            index[mask] = classes.index(name) + 1
        picture, data = Image.fromarray(index, mode="P"), io.BytesIO()
        picture.putpalette(colours.tobytes())
        picture.save(data, "PNG")
        folder.add(folder.path(answer.key, ".png"), data.getvalue())
        keys.add(Path(answer.key).with_suffix("").as_posix())
    keys |= {key for key in before if folder.stays(folder.root / MASKS / f"{key}.png")}
    lines = ["background", *classes]
    for name, text in (
            (NAMES, "\n".join(classes)),
            (LABELMAP, "# label:color_rgb:parts:actions\n" + "\n".join(
                f"{line}:{','.join(map(str, colours[i]))}::" for i, line in enumerate(lines))),
            (LIST, "\n".join(sorted(keys)))):
        folder.add(folder.root / name, f"{text}\n".encode())
    return folder.close()


def _lines(path):
    """What stands in a list's lines; [] where there is none."""
    if not path.is_file():
        return []
    return [line.strip() for line in read_lines(path) if line.strip()]
