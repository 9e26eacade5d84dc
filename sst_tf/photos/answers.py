"""Answers to a folder of photos, as files; started again it goes on."""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.writing import write_json
from sst_tf.photos.images import load_photo
from sst_tf.photos.inputs import _videos, items
from sst_tf.reporting import drawing

COLOURS = ((70, 200, 70), (255, 140, 0), (60, 120, 255), (220, 60, 180), (0, 190, 190),
           (230, 210, 40))


def rle(mask):
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

    def __init__(self, folder, predictor):
        self.folder = Path(folder)
        self.names = list(predictor.cards)
        digest = hashlib.sha256(predictor.model_sha256.encode())
        digest.update(json.dumps([self.names, predictor.empty]).encode())
        for card in predictor.cards.values():
            digest.update(card.prototype.tobytes() + card.score.tobytes())
        self.teaching = digest.hexdigest()  # other answers than this teaching's are made anew

    def record(self, key):
        """What was written for a photo under the same teaching, or None."""
        try:
            record = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if record.get("teaching") == self.teaching else None

    def write(self, key, image, scene):
        """Files of one photo; its record last, so that half an answer counts as none."""
        shown = image
        for number in range(1, len(self.names) + 1):
            shown = drawing.overlay(shown, (scene.index == number).astype(np.uint8),
                                     COLOURS[(number - 1) % len(COLOURS)])
        _write(self.folder / f"{key}.index.png", cv2.imencode(".png", scene.index)[1])
        _write(self.folder / f"{key}.overlay.jpg", cv2.imencode(".jpg", shown[..., ::-1])[1])
        write_json(self.folder / f"{key}.json", {
            "photo": key, "teaching": self.teaching, "height": image.shape[0],
            "width": image.shape[1], "classes": [
                {"name": name, "index": number, "score": one.score, "present": one.present,
                 "segmentation": rle((scene.index == number).astype(np.uint8))}
                for number, (name, one) in enumerate(scene.predictions.items(), start=1)]})

    def summary(self, keys):
        """Write predictions.json in COCO's form; returns its path."""
        images, annotations = [], []
        for number, key in enumerate(keys, start=1):
            record = self.record(key)
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


def predict_files(predictor, found, output, batch=4, every=1, progress=True):
    """Answer photos and frames into a folder.

    Returns:
        (keys answered, {key: reason} of those that could not be read).
    """
    answers, done, failed, waiting = Answers(output, predictor), [], {}, []

    def flush():
        scenes = predictor.predict_all([image for _, image in waiting])
        for (key, image), scene in zip(waiting, scenes, strict=True):
            answers.write(key, image, scene)
            done.append(key)
        waiting.clear()

    bar = tqdm(items(found, every), total=None if _videos(found) else len(found),
               desc="photos", unit="photo", disable=not progress)
    for key, item in bar:
        if answers.record(key) is not None:
            done.append(key)
            continue
        try:
            if isinstance(item, Exception):
                raise item
            waiting.append((key, load_photo(item)))
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


def write_video(folder, key, path, every):
    """Overlays of a video's frames as a video beside them; returns its path, None without any."""
    shown = sorted((Path(folder) / key).glob("*.overlay.jpg"))
    if not shown:
        return None
    video = cv2.VideoCapture(str(path))
    rate = (video.get(cv2.CAP_PROP_FPS) or 25.0) / every
    video.release()
    height, width = cv2.imread(str(shown[0])).shape[:2]
    target = Path(folder) / f"{key}.overlay.mp4"
    partial = target.with_name(f"partial-{target.name}")
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
    for one in shown:
        writer.write(cv2.imread(str(one)))
    writer.release()
    partial.replace(target)
    return target


def _write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    partial.write_bytes(data.tobytes())
    partial.replace(path)
