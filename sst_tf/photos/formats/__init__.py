# SPDX-License-Identifier: Apache-2.0
"""Formats of annotation tools: marks in, answers out. A format is a file here and a line below."""

import importlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pipelines.errors import DataError
from pipelines.reading.files import DAMAGED, MAX_PIXELS
from sst_tf.photos.formats import coco, cvat, label_studio, labelme, names, voc, yolo
from sst_tf.photos.formats.folder import Folder, is_written
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Size
from sst_tf.photos.inputs import files_in
from sst_tf.photos.marks import Shapes

# {name: module}; each has NEEDS, modules of the extra `formats`, and write(output, answers,
# classes), which returns the file or `Folder` for the tool.
FORMATS = {"coco": coco, "cvat": cvat, "label_studio": label_studio, "labelme": labelme,
           "voc": voc, "yolo": yolo}
JSON = ("labelme", "coco", "label_studio")
ONE_PHOTO = ("labelme", "voc", "yolo")  # a file a photo: its mark, whatever the photo's name
FILES = (".json", ".xml", ".txt")
# Answers in a folder in which people's marks lie too; named itself, such a file is read.
ANSWERS = (coco.FILE, cvat.FILE, label_studio.FILE)
READABLE = ("labelme, COCO and Label Studio (.json), CVAT for images and VOC (.xml), YOLO (.txt, "
            "or its folder), a folder of VOC layout")


# ---- reading -------------------------------------------------------------------------------------


def is_annotation(path: str | Path) -> bool:
    """A path that `read` is for, not a mask's picture."""
    return Path(path).suffix.lower() in FILES or Path(path).is_dir()


def read(path: str | Path) -> list[MarkedPhoto]:
    """Photos of an annotation file or of a folder of them; the content tells the format.

    Raises:
        DataError: nothing there, no format that is known, two in one folder, damaged content.
    """
    return _read(Path(path))[1]


def _read(path):
    """(format's name, photos)."""
    if not path.is_dir():
        if (one := _read_file(path)) is None:
            raise DataError(f"{path}: no annotation file that is known; {READABLE} are read"
                            + ("; unpack it first" if path.suffix.lower() == ".zip" else ""))
        return one
    for name in ("voc", "yolo"):
        if FORMATS[name].is_mine(path):
            return name, _told(path, name, FORMATS[name].read_folder, path)
    found: dict[str, list[MarkedPhoto]] = {}
    for file in files_in(path, FILES[:2]):
        if file.name in ANSWERS or is_written(file, path):
            continue
        if (one := _read_file(file)) is not None:
            name, photos = one
            if name == "labelme":  # its names are beside the file; a folder's, in the folder
                under = file.parent.relative_to(path)
                photos = [replace(photo, name=(under / photo.name).as_posix())
                          for photo in photos]
            found.setdefault(name, []).extend(photos)
    if len(found) != 1:
        raise DataError(f"{path}: " + (f"files of {' and '.join(sorted(found))}; name one of them"
                                       if found else f"no annotations; {READABLE} are read"))
    return next(iter(found.items()))


def _read_file(path):
    """(format's name, photos) or None where the content is of no format."""
    ending = path.suffix.lower()
    if ending == ".txt" and path.is_file():
        return "yolo", _told(path, "yolo", yolo.read_file, path)
    if ending == ".xml":
        try:
            root = ElementTree.parse(path).getroot()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except ElementTree.ParseError as error:
            raise DataError(f"{path}: not readable as XML ({error})") from None
        name = {"annotations": "cvat", "annotation": "voc"}.get(root.tag)
        return name and (name, _told(path, name, FORMATS[name].read, root, path))
    if ending == ".json":
        content = _read_json(path)
        name = next((name for name in JSON if FORMATS[name].is_mine(content)), None)
        return name and (name, _told(path, name, FORMATS[name].read, content, path))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return None


def _told(path, name, reading, *arguments):
    """What `reading` gives; what it stumbles over becomes one line."""
    try:
        return reading(*arguments)
    except DataError:
        raise
    except (*DAMAGED, KeyError, TypeError, AttributeError, IndexError, OverflowError,
            RecursionError) as error:
        raise DataError(f"{path}: damaged annotations of {name} ({type(error).__name__}: {error})"
                        ) from None


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some tools write a mark
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None


def shapes_of(photo: MarkedPhoto, label: str | None, size: Size, what: str) -> Shapes:
    """The shapes of one class in a photo.

    Args:
        label: its name; a photo that shows a single class needs none, and has it whatever the
            label.
        size: (H, W) of the upright photo, where the file does not say another.
        what: the file, for messages.
    Raises:
        DataError: no shape, none of the label, or one of a kind that is not read.
    """
    shown = photo.labels
    if not shown:
        raise DataError(f"{what}: {photo.name} has no shape")
    if len(shown) > 1 and label not in shown:
        raise DataError(f"{what}: {photo.name} has no shape of {label!r}; it shows "
                        f"{', '.join(shown)}: the class must have one of these names")
    if photo.size is not None:
        _told(what, photo.name, _refuse_bomb, photo.size, what)
    return Shapes([_told(what, shape.label, shape.mark, photo.size or size)
                   for shape in photo.shapes if len(shown) == 1 or shape.label == label],
                  photo.size)


def _refuse_bomb(size, what):
    """DataError for a size that no photo has: shapes are drawn at it, before the photo is seen."""
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{what}: a photo of {size[0]} x {size[1]} pixels (height x width); 1 to "
                        f"{MAX_PIXELS // 10**6} million are taken")


def mark_in(path: Path, photo: str | Path | None, label: str | None, size: Size) -> Shapes:
    """What a file has of one class in one photo.

    Args:
        photo: its path; may be left out where the file has one photo.
        label: as in `shapes_of`.
        size: (H, W) of the upright photo.
    Raises:
        DataError: naming the file.
    """
    kind, photos = _read(path)
    if len(photos) == 1 and (photo is None or kind in ONE_PHOTO and path.is_file()):
        return shapes_of(photos[0], label, size, str(path))
    by_name = {one.name: one for one in photos}
    name = photo and names.find(Path(photo).as_posix(), list(by_name), str(path))
    if not name:
        raise DataError(f"{path}: no photo {Path(photo).name if photo else 'is named'}; it has "
                        f"{', '.join(sorted(by_name)[:5])}")
    return shapes_of(by_name[name], label, size, str(path))


# ---- writing -------------------------------------------------------------------------------------


def check(chosen: Sequence[str], keys: Iterable[str] = (), classes: Iterable[str] = ()) -> None:
    """What would go wrong after all photos were answered, told before.

    Args:
        chosen: names of `FORMATS`.
        keys: of the photos.
        classes: names of the classes.
    Raises:
        ImportError: a library that a format needs.
        DataError: two photos that differ in nothing but their endings, where a file is one
            photo's; a class's name that VOC's lists cannot hold.
    """
    for name in chosen:
        for module in FORMATS[name].NEEDS:
            importlib.import_module(module)
    if "voc" in chosen:
        voc.refuse_unlistable(classes)
    stems: dict[Path, str] = {}
    for key in keys if set(chosen) & set(ONE_PHOTO) else ():
        if (other := stems.setdefault(Path(key).with_suffix(""), key)) != key:
            raise DataError(f"{other} and {key} would have one file of annotations; rename one of "
                            "them, or leave out --format " + " ".join(
                                name for name in chosen if name in ONE_PHOTO))


def write(chosen: Sequence[str], output: Path, answers: Callable[[], Iterator[Answer]],
          classes: list[str], photos_at: str | None = None,
          videos: Collection[str] | None = None) -> list[Path | Folder]:
    """Write answers in several formats; returns the file or `Folder` of each.

    Args:
        chosen: names of `FORMATS`.
        answers: gives the answers, once a format: they are read one by one, as masks of many
            photos do not fit in memory.
        photos_at: of `label_studio.write`.
        videos: as of `Folder`, which says whose files of an earlier run stay.
    """
    written = []
    for name in chosen:
        more: dict[str, Any] = {"videos": videos} if name in ONE_PHOTO else {}
        if name == "label_studio" and photos_at is not None:
            more["photos_at"] = photos_at
        written.append(FORMATS[name].write(output, answers(), classes, **more))
    return written
