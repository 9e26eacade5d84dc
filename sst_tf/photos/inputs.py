"""Folders, photos and videos that were named, one photo or frame at a time."""

from pathlib import Path

import cv2

from pipelines.errors import DataError, UserError

PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def find_photos(paths):
    """[(key, path)] of photos and videos; keys are paths inside the folder that was named."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PHOTOS + VIDEOS)
            if not inside:
                raise UserError(f"{path}: no photo ({', '.join(PHOTOS)}) or video in it")
            found += [(str(p.relative_to(path)), p) for p in inside]
        elif path.is_file():
            found.append((path.name, path))
        else:
            raise UserError(f"{path}: no such file or folder")
    keys = [key for key, _ in found]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise UserError(f"{sorted(twice)[0]}: two inputs of that name; give their folder, or one "
                        "--output each")
    return found


def frames(key, path, every):
    """(key, array) of every n-th frame of a video."""
    video, number = cv2.VideoCapture(str(path)), 0
    try:
        if not video.isOpened():
            raise DataError(f"{path}: not readable as a video")
        while True:
            there, frame = video.read()
            if not there:
                break
            if number % every == 0:
                yield f"{key}/{number:06d}", frame[..., ::-1]
            number += 1
        if number == 0:
            raise DataError(f"{path}: a video without frames")
    finally:
        video.release()


def items(found, every):
    """(key, path or frame) of all photos and frames; an unreadable video is an (key, error)."""
    for key, path in found:
        if path.suffix.lower() in VIDEOS:
            try:
                yield from frames(key, path, every)
            except DataError as error:
                yield key, error
        else:
            yield key, path


def _videos(found):
    return [(key, path) for key, path in found if path.suffix.lower() in VIDEOS]
