# SPDX-License-Identifier: Apache-2.0
"""YOLO: a text file a photo, a line a polygon or box, numbers as parts of the photo's sides."""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import yaml

from pipelines.errors import DataError
from pipelines.reading.lists import read_lines
from sst_tf.photos.formats.folder import Folder, is_written
from sst_tf.photos.formats.outlines import outlines
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape
from sst_tf.photos.inputs import files_in
from sst_tf.photos.marks import Box, Polygon

NEEDS = ()
DATA = "data.yaml"  # of the folder that `write` makes
NAMES = "classes.txt"  # beside labels, as labelImg leaves it: a name a line
LEVELS = 4  # folders above a label file in which class names are looked for


def is_mine(folder: Path) -> bool:
    """A folder with labels in it."""
    return (folder / "labels").is_dir() or any(_labels(folder))


def read_folder(folder: Path) -> list[MarkedPhoto]:
    """All photos that have a label file."""
    names = _names(folder)
    return [_photo(path, names, "/".join(
        part for part in path.relative_to(folder).with_suffix("").parts if part != "labels"))
        for path in _labels(folder)]


def read_file(path: Path) -> list[MarkedPhoto]:
    """The photo of one label file."""
    return [_photo(path, _names(path.parent), path.stem)]


def _labels(folder):
    """Label files; a list of photos or names is none."""
    return sorted(
        path for path in files_in(folder, (".txt",)) if path.name != NAMES
        and not is_written(path, folder)
        and ("labels" in (folder.name, *path.relative_to(folder).parts)
             or _looks_like_labels(path)))


def _looks_like_labels(path):
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        words = file.readline().split()
    return len(words) >= 5 and words[0].isdigit()


def _names(folder):
    """{number: name} of the nearest file of names; {} where there is none."""
    for above in [folder.absolute(), *folder.absolute().parents][:LEVELS]:
        if (names := _names_in(above)) is not None:
            return names
    return {}


def _names_in(folder):
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            if path.name != DATA:  # a file of something else, in some folder above
                continue
            raise DataError(f"{path}: no class names can be read from it "
                            f"({' '.join(str(error).split())})") from None
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):
            return {int(number): str(name) for number, name in names.items()}
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
    if (folder / NAMES).is_file():
        return {number: line.strip() for number, line in enumerate(read_lines(folder / NAMES))
                if line.strip()}
    return None


def _photo(path, names, name):
    shapes = []
    for number, line in enumerate(read_lines(path), start=1):
        if not (words := line.split()):
            continue
        try:
            label, values = int(float(words[0])), np.array(words[1:], np.float64)
        except ValueError:
            raise DataError(f"{path}: line {number} is no YOLO label; a class number and "
                            "coordinates are expected") from None
        if len(values) < 4 or not np.isfinite(values).all():
            raise DataError(f"{path}: line {number}: a class number and 4 numbers (a box) or at "
                            f"least 6 (a polygon) are expected, not {len(values)}")
        shapes.append(Shape(names.get(label, str(label)), _mark(values)))
    return MarkedPhoto(name, None, shapes)


def _mark(values):
    def mark(size):
        sides = np.array([size[1], size[0]], np.float64)
        if len(values) <= 5:  # a box; a fifth number is how sure somebody was
            centre, half = values[:2] * sides, values[2:4] * sides / 2
            return Box(*(centre - half), *(centre + half))
        return Polygon([values[:len(values) // 2 * 2].reshape(-1, 2) * sides])

    return mark


def write(output: Path, answers: Iterable[Answer], classes: list[str],
          videos: Collection[str] | None = None) -> Folder:
    """`yolo/labels/NAME.txt` of each photo and `yolo/data.yaml`. `Folder` has `videos`."""
    folder = Folder(output / "yolo", "labels", videos)
    listed, known = folder.root / DATA, _names_in(folder.root) or {}
    classes = folder.numbered(listed, [known.get(number, f"class {number}")
                                       for number in range(max(known, default=-1) + 1)], classes)
    for answer in answers:
        sides = np.array([answer.size[1], answer.size[0]])
        lines = [f"{classes.index(name)} " + " ".join(
            f"{value:.6f}" for value in (part / sides).ravel()) + "\n"
            for name, mask in answer.masks.items() for part in outlines(mask)]
        folder.add(folder.path(answer.key, ".txt"), "".join(lines).encode())
    folder.add(listed, yaml.safe_dump(
        # No "path": photos are looked for beside this file.
        {"train": "images", "val": "images", "names": dict(enumerate(classes))},
        allow_unicode=True, sort_keys=False).encode())
    return folder.close()
