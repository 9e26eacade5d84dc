# SPDX-License-Identifier: Apache-2.0
"""Marked photos from an annotation tool's export: classes, the photos and marks of each."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import DataError, UserError
from pipelines.reading.photos import load_photo
from sst_tf.photos import formats
from sst_tf.photos.annotations import mask_of
from sst_tf.photos.formats import names
from sst_tf.photos.formats.shapes import Answer
from sst_tf.photos.inputs import files_in
from sst_tf.photos.marks import Shapes

Support = dict[str, list[tuple[Path, Shapes]]]


def support_from(export: str | Path, folders: Sequence[str | Path] = (), name: str | None = None
                 ) -> Support:
    """What an export marks: {class: [(photo, its shapes)]}, in the order of names.

    Args:
        export: file or folder that `formats.read` reads.
        folders: where photos are looked for, those in them too; without any, the export's own.
        name: the one class to take; default all. An export of one class takes any name.
    Raises:
        DataError: nothing marked, a photo that is in no folder, no class of the name.
    """
    export = Path(export)
    marked = [photo for photo in formats.read(export) if photo.shapes]
    shown = sorted({label for photo in marked for label in photo.labels})
    if not shown:
        raise DataError(f"{export}: no photo is marked")
    if name is not None and name not in shown and len(shown) > 1:
        raise DataError(f"{export}: no shape of {name!r}; it has {', '.join(shown)}")
    places = [Path(folder) for folder in folders] or [
        export if export.is_dir() else export.parent]
    there = _by_name(places)
    taken = {label: name or label for label in shown if len(shown) == 1 or name in (None, label)}
    support: Support = {called: [] for called in taken.values()}
    for photo in marked:
        wanted = [label for label in photo.labels if label in taken]
        if not wanted:
            continue
        key = names.find(photo.name, list(there), str(export))
        if key is None:
            raise DataError(f"{export}: {photo.name} is in none of "
                            f"{', '.join(map(str, places))}; --photos names its folder")
        size = load_photo(there[key]).shape[:2]
        for label in wanted:
            support[taken[label]].append((there[key], formats.shapes_of(
                photo, label, (size[0], size[1]), str(export))))
    return support


def _by_name(places):
    """{path inside its folder: photo}; the folder's name too where several have one inside."""
    inside: dict[str, dict[Path, Path]] = {}
    for place in places:
        files = files_in(place) if place.is_dir() else [place] if place.is_file() else []
        root = place if place.is_dir() else place.parent
        for path in files:
            if not _is_mask(own := path.relative_to(root)):
                inside.setdefault(own.as_posix(), {}).setdefault(path.resolve(), path)
    return {name if len(paths) == 1 else path.as_posix(): path
            for name, paths in inside.items() for path in paths.values()}


def _is_mask(path):
    """VOC's pictures of masks lie beside photos of the same name."""
    return any(part.startswith("Segmentation") for part in path.parts[:-1])


def marked_answers(support: Support, found: Sequence[tuple[str, Path]]) -> list[Answer]:
    """Those of the photos {key: path} that are marked, with their marks in the place of answers."""
    marks: dict[Path, dict[str, Shapes]] = {}
    for label, pairs in support.items():
        for photo, shapes in pairs:
            marks.setdefault(photo.resolve(), {})[label] = shapes
    answers = []
    for key, path in found:
        if path.resolve() in marks:
            image = load_photo(path)
            masks = {label: mask_of(shapes, image, str(path), path)[0] == 1
                     for label, shapes in marks[path.resolve()].items()}
            answers.append(Answer(Path(key).as_posix(), path, (image.shape[0], image.shape[1]),
                                  masks, dict.fromkeys(masks, 1.0)))
    return answers


def parse_pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """[(photo, mark)] of PHOTO=MARK.

    Raises:
        UserError: a text without either.
    """
    pairs = [text.rpartition("=")[::2] for text in texts]
    if any(not photo or not mark for photo, mark in pairs):
        raise UserError("--support: PHOTO=MARK is expected, such as mug.jpg=mug_mask.png")
    return pairs
