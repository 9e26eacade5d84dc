# SPDX-License-Identifier: Apache-2.0
"""Answers to a folder of photos, as files; started again it goes on."""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.reading.photos import load_photo
from pipelines.writing import replacing, write_bytes, write_json
from sst_tf.photos.inputs import content_sha256, items, videos
from sst_tf.photos.predictor import Predictor, Scene
from sst_tf.reporting import drawing

COLOURS = ((70, 200, 70), (255, 140, 0), (60, 120, 255), (220, 60, 180), (0, 190, 190),
           (230, 210, 40))


def rle(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths of a mask [H, W] of 0 and 1: column by column, 0 first."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [0]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    if len(ends) and counts[-1] == 0:
        counts.pop()
    return {"size": list(mask.shape), "counts": counts}


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
        """The photo of these bytes was answered before, and the answer would be the same."""
        record = self._record(key)
        return (record.get("asked"), record.get("photo_sha256")) == (self.asked, photo_sha256)

    def _record(self, key):
        try:
            return json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write(self, key: str, image: np.ndarray, scene: Scene, photo_sha256: str) -> None:
        """Files of one photo; its record last, so that half an answer counts as none."""
        shown = image
        for number in range(1, len(self.names) + 1):
            shown = drawing.overlay(shown, (scene.index == number).astype(np.uint8),
                                    COLOURS[(number - 1) % len(COLOURS)])
        for ending, picture in (("index.png", scene.index), ("overlay.jpg", shown[..., ::-1])):
            write_bytes(self.folder / f"{key}.{ending}",
                        cv2.imencode(Path(ending).suffix, picture)[1].tobytes())
        write_json(self.folder / f"{key}.json", {
            "photo": key, "photo_sha256": photo_sha256, "asked": self.asked,
            "height": image.shape[0], "width": image.shape[1], "classes": [
                {"name": name, "index": number, "score": one.score, "present": one.present,
                 "segmentation": rle((scene.index == number).astype(np.uint8))}
                for number, (name, one) in enumerate(scene.predictions.items(), start=1)]})

    def summary(self, keys: list[str]) -> Path:
        """Write predictions.json in COCO's form; returns its path."""
        images, annotations = [], []
        for number, key in enumerate(keys, start=1):
            record = self._record(key)
            images.append({"id": number, "file_name": key, "height": record["height"],
                           "width": record["width"]})
            for one in record["classes"]:
                area = sum(one["segmentation"]["counts"][1::2])
                if area:
                    annotations.append({
                        "id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                        "category_id": one["index"], "score": one["score"], "area": area,
                        "segmentation": one["segmentation"]})
        path = self.folder / "predictions.json"
        write_json(path, {"images": images, "annotations": annotations, "categories": [
            {"id": i, "name": name} for i, name in enumerate(self.names, start=1)]})
        return path


def _asked(predictor):
    """Hash of all that an answer hangs on but the photo: other answers are made anew."""
    data = predictor.config.data
    digest = hashlib.sha256(json.dumps([
        predictor.model_sha256, data.image_size, data.resize, predictor.empty,
        predictor.tiles]).encode())
    for card in predictor.cards.values():
        digest.update(json.dumps([card.name, predictor.threshold(card.shots),
                                  predictor.presence_threshold(card.shots)]).encode())
        digest.update(card.prototype.tobytes() + card.score.tobytes())
    return digest.hexdigest()


def predict_files(predictor: Predictor, found: list[tuple[str, Path]], output: str | Path,
                  batch: int = 4, every: int = 1, progress: bool = True
                  ) -> tuple[list[str], dict[str, str]]:
    """Answer photos and frames into a folder.

    Args:
        found: as `find_photos` gives them.
        batch: photos at once.
        every: every n-th frame of a video.
    Returns:
        (keys answered, {key: reason} of those that could not be read).
    """
    answers, done, failed, waiting = Answers(output, predictor), [], {}, []

    def flush():
        scenes = predictor.predict_all([image for _, image, _ in waiting])
        for (key, image, sha256), scene in zip(waiting, scenes, strict=True):
            answers.write(key, image, scene, sha256)
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
            waiting.append((key, load_photo(item), sha256))
        except DataError as error:
            failed[key] = str(error)
            bar.write(f"failed: {error}", file=sys.stderr)
            continue
        if len(waiting) == batch:
            flush()
    if waiting:
        flush()
    answers.summary(sorted(done))
    return done, failed


def write_video(folder: str | Path, key: str, path: Path, every: int) -> Path | None:
    """Overlays of a video's frames as a video beside them; returns its path, None without any."""
    shown = sorted((Path(folder) / key).glob("*.overlay.jpg"))
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
    return target
