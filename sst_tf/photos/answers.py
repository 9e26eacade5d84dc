# SPDX-License-Identifier: Apache-2.0
"""Answers to a folder of photos, as files; started again it goes on."""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError, UserError
from pipelines.reading.photos import load_photo
from pipelines.reading.run_lengths import mask_of_run_lengths, run_lengths
from pipelines.writing import replacing, write_bytes, write_json
from sst_tf.photos import formats
from sst_tf.photos.formats.shapes import Answer
from sst_tf.photos.inputs import VIDEOS, content_sha256, items, single, videos
from sst_tf.photos.predictor import Predictor, Scene
from sst_tf.reporting import drawing

COLOURS = ((70, 200, 70), (255, 140, 0), (60, 120, 255), (220, 60, 180), (0, 190, 190),
           (230, 210, 40))
PICTURES = ("index.png", "overlay.jpg")  # beside each record
JPEG_SIDE = 65_500  # pixels, of a picture that OpenCV writes as a JPEG
MOST_BYTES = 255  # of a file's name, on most disks


class Answers:
    """The output folder: files of each photo, and which are there already.

    Args:
        folder: where files go.
        predictor: whose classes are looked for.
    """

    def __init__(self, folder: str | Path, predictor: Predictor):
        self.folder = Path(folder)
        self.names = list(predictor.cards)
        self.asked = _asked(predictor)

    def is_there(self, key: str, photo_sha256: str) -> bool:
        """The photo of these bytes was answered before, and the answer would be the same.

        Raises:
            DataError: a file of somebody else's is in the record's place, or none can be there.
        """
        most = MOST_BYTES - len(f".{PICTURES[-1]}")
        if len(os.fsencode(Path(key).name)) > most:
            raise DataError(f"{key}: a name of more than {most} bytes, to which answers could not "
                            f"add .{PICTURES[-1]}; rename it")
        record = self._record(key)
        return (record.get("asked"), record.get("photo_sha256")) == (self.asked, photo_sha256) and (
            all((self.folder / f"{key}.{ending}").is_file() for ending in PICTURES))

    def _record(self, key):
        """What the record says; {} where there is none, or half of one after a crash."""
        path = self.folder / f"{key}.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        # Archives of photos keep what they know of one in a file of this name, too.
        if not isinstance(record, dict) or not {"photo", "classes"} <= record.keys():
            raise DataError(f"{path}: is no answer of an earlier run, and would be overwritten; "
                            "choose another --output")
        return record

    def write(self, key: str, image: np.ndarray, scene: Scene, photo_sha256: str) -> None:
        """Files of one photo; its record last, so that half an answer counts as none."""
        (self.folder / f"{key}.json").unlink(missing_ok=True)  # of another question, perhaps
        shown = image
        for number in range(1, len(self.names) + 1):
            shown = drawing.overlay(shown, (scene.index == number).astype(np.uint8),
                                    COLOURS[(number - 1) % len(COLOURS)])
        for ending, picture in zip(PICTURES, (scene.index, shown[..., ::-1]), strict=True):
            write_bytes(self.folder / f"{key}.{ending}",
                        cv2.imencode(Path(ending).suffix, picture)[1].tobytes())
        write_json(self.folder / f"{key}.json", {
            "photo": key, "photo_sha256": photo_sha256, "asked": self.asked,
            "height": image.shape[0], "width": image.shape[1], "classes": [
                {"name": name, "index": number, "score": one.score, "present": one.present,
                 "segmentation": run_lengths((scene.index == number).astype(np.uint8))}
                for number, (name, one) in enumerate(scene.predictions.items(), start=1)]})

    def found(self, key: str) -> list[str]:
        """Names of the classes that have a mask in a photo."""
        return [one["name"] for one in _found(self._record(key))]

    def answer(self, key: str, path: Path | None) -> Answer:
        """What the record says of a photo; `path` is None of a frame."""
        record = self._record(key)
        there = _found(record)
        return Answer(Path(key).as_posix(), path, (record["height"], record["width"]),
                      {one["name"]: mask_of_run_lengths(one["segmentation"]).astype(bool)
                       for one in there}, {one["name"]: one["score"] for one in there})


def _found(record):
    return [one for one in record["classes"] if any(one["segmentation"]["counts"][1:])]


def _asked(predictor):
    """Hash of all that an answer hangs on but the photo: other answers are made anew."""
    data = predictor.config.data
    digest = hashlib.sha256(json.dumps([
        predictor.model_sha256, data.image_size, data.resize, predictor.empty,
        predictor.tiles, *predictor.config.model.asked_otherwise]).encode())
    for card in predictor.cards.values():
        digest.update(json.dumps([card.name, predictor.threshold(card.shots),
                                  predictor.presence_threshold(card.shots)]).encode())
        digest.update(card.prototype.tobytes() + card.score.tobytes())
    return digest.hexdigest()


class Answered(NamedTuple):
    """What came of a folder.

    Attributes:
        done: keys answered.
        failed: {key: reason} of those that could not be read.
        written: for each format its file, or the `formats.Folder` of its files.
        found: {class: in how many of `done` it was found}.
    """

    done: list[str]
    failed: dict[str, str]
    written: list[Path | formats.Folder]
    found: dict[str, int]


def predict_files(predictor: Predictor, found: list[tuple[str, Path]], output: str | Path,
                  batch: int = 4, every: int = 1, progress: bool = True,
                  chosen: Sequence[str] = ("coco",), photos_at: str | None = None,
                  marked: Sequence[Answer] = ()) -> Answered:
    """Answer photos and frames into a folder.

    Args:
        found: as `find_photos` gives them.
        batch: photos at once.
        every: every n-th frame of a video.
        chosen: formats of annotation tools to write at the end (`formats.FORMATS`).
        photos_at: where Label Studio finds photos (`formats.label_studio.write`).
        marked: photos that somebody marked, written with their marks among the answers.
    """
    formats.check(chosen, single(found), predictor.cards)
    answers, done, failed, waiting = Answers(output, predictor), [], {}, []

    def flush():
        scenes = predictor.each_scene([image for _, image, _ in waiting])
        for key, image, sha256 in waiting:
            answers.write(key, image, next(scenes), sha256)
            done.append(key)
        waiting.clear()

    bar = tqdm(items(found, every), total=None if videos(found) else len(found),
               desc="photos", unit="photo", disable=not progress)
    for key, item in bar:
        try:
            if isinstance(item, DataError):
                raise item
            sha256 = content_sha256(item)
            if answers.is_there(key, sha256):
                done.append(key)
                continue
            image = load_photo(item)
            if max(image.shape) > JPEG_SIDE:
                raise DataError(f"{item}: {image.shape[1]} x {image.shape[0]} pixels; answers are "
                                f"shown as JPEGs of at most {JPEG_SIDE:,} a side; cut it")
            waiting.append((key, image, sha256))
        except DataError as error:
            failed[key] = str(error)
            bar.write(f"failed: {error}", file=sys.stderr)
            continue
        if len(waiting) == batch:
            flush()
    if waiting:
        flush()
    paths = {key: None if path.suffix.lower() in VIDEOS else path for key, path in found}
    known = {one.key: one for one in marked}

    def in_order():
        for key in sorted([*done, *known]):
            yield known[key] if key in known else answers.answer(key, paths.get(key))

    whole = {Path(key).as_posix() for key, _ in videos(found) if key not in failed}
    written = formats.write(chosen, answers.folder, in_order, answers.names, photos_at, whole)
    photos_of = Counter(name for key in done for name in answers.found(key))
    return Answered(done, failed, written, {name: photos_of[name] for name in answers.names})


def write_video(folder: str | Path, key: str, path: Path, every: int, done: Sequence[str]
                ) -> Path | None:
    """Overlays of a video's frames as a video beside them; returns its path, None without any.

    Args:
        key, path: of the video, as `find_photos` gives them.
        every: every n-th frame was answered.
        done: keys answered, `Answered.done`; earlier answers to other frames stay out.
    """
    shown = [Path(folder) / f"{one}.overlay.jpg" for one in sorted(done)
             if one.startswith(f"{key}/")]
    if not shown:
        return None
    video = cv2.VideoCapture(str(path))
    rate = (video.get(cv2.CAP_PROP_FPS) or 25.0) / every
    video.release()
    height, width = cv2.imread(str(shown[0])).shape[:2]
    target = Path(folder) / f"{key}.overlay.mp4"
    with replacing(target) as partial:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), rate,
                                 (width, height))
        for one in shown:
            writer.write(cv2.imread(str(one)))
        writer.release()
        if not _is_whole(partial, len(shown)):  # OpenCV says nothing of a full disk
            raise UserError(f"{target}: cannot be written whole; see that the disk has room and "
                            "start again")
    return target


def _is_whole(path, frames):
    video = cv2.VideoCapture(str(path))
    try:
        return video.get(cv2.CAP_PROP_FRAME_COUNT) == frames
    finally:
        video.release()
