# SPDX-License-Identifier: Apache-2.0
"""Folders, photos and videos that were named, one photo or frame at a time."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.reading.files import is_text, shown
from sst_tf.photos.class_card import unwritable

PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Pictures that are not looked for in folders: most of these kinds cannot be read.
OTHERS = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".psd", ".dng", ".cr2", ".cr3",
          ".nef", ".arw", ".orf", ".rw2", ".raf")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
ANSWERS = (".index.png", ".overlay.jpg", ".overlay.mp4")  # what `answers` writes beside records
WHOLE = 0.95  # part of a video's frames, and of its time, that a whole one has: both are estimates
WRITTEN = ".sst_written"  # in a folder that `formats` wrote; one of them holds pictures of masks


def files_in(folder: Path, endings: Sequence[str] = PHOTOS) -> list[Path]:
    """Files of a folder and of those in it, by name, hidden ones left out; photos by default.

    Links to folders are followed, each folder once, by its own path where that lies within. A
    folder that is not there has no files.

    Raises:
        DataError: a folder that may not be read.
    """
    return sorted(p for here, names in _walk(folder) for p in (here / name for name in names)
                  if p.suffix.lower() in endings and not p.name.startswith(".") and _is_file(p))


def _walk(top):
    """(folder, names of its files) of a folder and of all below it; links come last."""
    seen, links = set(), [os.fspath(top)]
    while links:
        links, now = [], sorted(links)
        for link in now:
            if os.path.realpath(link) in seen:
                continue
            for here, folders, names in os.walk(link, onerror=_refuse):
                seen.add(os.path.realpath(here))
                below = {one: os.path.join(here, one) for one in folders}
                links += filter(os.path.islink, below.values())
                folders[:] = [one for one in folders if os.path.realpath(below[one]) not in seen]
                yield Path(here), names


def _is_file(path):
    try:
        return path.is_file()
    except OSError as error:  # of a folder whose names may be read, and nothing else
        return _refuse(error)


def _refuse(error):
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return
    raise DataError(f"{shown(error.filename)}: {error.strerror}; see who may read there, or name "
                    "other folders") from None


def others_in(paths: Iterable[str | Path]) -> list[str]:
    """Pictures of `OTHERS` in those of the paths that are folders."""
    return [str(file) for path in map(Path, paths) if path.is_dir()
            for file in files_in(path, OTHERS)]


def told_of_others(names: Sequence[str]) -> str | None:
    """A line on pictures of `OTHERS` in folders; None without any."""
    return (f"{counted(len(names), 'picture')} left out, such as {names[0]}: photos are "
            f"{', '.join(PHOTOS)}; convert the others") if names else None


def told_of_answers(number: int) -> str | None:
    """A line on pictures that are answers of `sst predict`; None without any."""
    return f"{counted(number, 'picture')} left out: answers of an earlier run" if number else None


def counted(number: int, thing: str) -> str:
    """So many of a thing, such as "1 photo" or "2 photos"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def find_photos(paths: Iterable[str | Path], output: str | Path | None = None
                ) -> tuple[list[tuple[str, Path]], int]:
    """Photos and videos of the folders and files that were named.

    Args:
        output: where answers go. It may lie within a folder that is named, or be it: answers of
            an earlier run are no photos.
    Returns:
        ([(key, path)], number of pictures left out because they are answers); a key is the path
        inside the folder that was named.
    Raises:
        UserError: nothing there, two inputs of one key, or a video whose frames would need a
            folder of its own name beside it.
    """
    found, answers = [], 0
    inside_output = None if output is None else Path(output).resolve()
    for path in map(Path, paths):
        if path.is_dir():
            inside = files_in(path, PHOTOS + VIDEOS)
            if not inside:
                raise UserError(f"{path}: no photo ({', '.join(PHOTOS)}) or video in it")
            kept = [p for p in inside if not is_answer(p, inside_output)]
            answers += len(inside) - len(kept)
            found += [(str(p.relative_to(path)), p) for p in kept]
        elif path.is_file():
            found.append((path.name, path))
        else:
            raise UserError(f"{path}: no such file or folder")
    if answers and not found:
        raise UserError("--input: nothing but answers of an earlier run; photos or videos are "
                        "expected")
    for key, times in Counter(key for key, _ in found).items():
        if times > 1:
            raise UserError(f"{key}: two inputs of that name; give their folder, or one --output "
                            "each")
    for key, path in videos(found):
        if output is not None and (Path(output) / key).is_file():
            raise UserError(f"{path}: frames of the video would go into a folder of that name; "
                            "choose another --output")
    return found, answers


def is_answer(path: Path, output: Path | None = None) -> bool:
    """Whether a picture is an answer of `sst predict`, no photo.

    In the output folder (resolved) by its name; elsewhere by the record beside it as well.
    """
    for ending in ANSWERS:
        if path.name.endswith(ending):
            key = path.with_name(path.name.removesuffix(ending))
            return (output is not None and path.resolve().is_relative_to(output)
                    or key.with_name(f"{key.name}.json").is_file() or key.is_dir())
    return "SegmentationClass" in path.parts and any(
        (folder / WRITTEN).is_file() for folder in path.parents)


def frames(key: str, path: Path, every: int) -> Iterator[tuple[str, np.ndarray]]:
    """(key, array) of every n-th frame of a video, uint8 [H, W, 3] RGB.

    Raises:
        DataError: no video, or after its last frame one that ends before its header says.
    """
    video, number, seconds = cv2.VideoCapture(str(path)), 0, 0.0
    try:
        if not video.isOpened():
            raise DataError(f"{path}: not readable as a video")
        while True:
            there, frame = video.read()
            if not there:
                break
            if number % every == 0:
                yield f"{key}/{number:06d}", frame[..., ::-1]
            number, seconds = number + 1, video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if number == 0:
            raise DataError(f"{path}: a video without frames")
        promised, rate = (video.get(kind) for kind in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        # Frames of uneven length are fewer than the rate tells: the last one's time is asked, too.
        if rate > 0 and number < WHOLE * promised and seconds < WHOLE * promised / rate:
            raise DataError(f"{path}: ends after {number} of {promised:.0f} frames; fetch it again")
    finally:
        video.release()


def items(found: list[tuple[str, Path]], every: int
          ) -> Iterator[tuple[str, Path | np.ndarray | DataError]]:
    """(key, path or frame) of all photos and frames; an unreadable video is an (key, error)."""
    for key, path in found:
        if not is_text(path):
            yield shown(key), DataError(f"{shown(path)}: its name is not UTF-8; rename it")
        elif unwritable(key):
            yield key, DataError(f"{str(path)!r}: its name has control characters, which lists and "
                                 "XML cannot hold; rename it")
        elif path.suffix.lower() in VIDEOS:
            try:
                yield from frames(key, path, every)
            except DataError as error:
                yield key, error
        else:
            yield key, path


def single(found: list[tuple[str, Path]]) -> list[str]:
    """Keys of those of `find_photos` that are one photo; a video's frames have keys of their own.
    """
    return [key for key, path in found if path.suffix.lower() not in VIDEOS]


def videos(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Those of `find_photos` that are videos."""
    return [(key, path) for key, path in found if path.suffix.lower() in VIDEOS]


def content_sha256(item: Path | np.ndarray) -> str:
    """Hash of a photo's file, or of a frame's pixels and shape.

    Raises:
        DataError: a file that cannot be read.
    """
    if isinstance(item, np.ndarray):
        return hashlib.sha256(str(item.shape).encode() + item.tobytes()).hexdigest()
    try:
        return hashlib.sha256(item.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{item}: {error.strerror}") from None
