"""`python -m sst_tf.predict`: find taught classes in a folder of photos, single photos or a video.

Teach a class by --support PHOTO=MARK, or take class cards of earlier teaching. A MARK is a mask
picture, a labelme or COCO JSON file, box:x0,y0,x1,y1 or scribbles:FILE (255 on the object, 128 on
background). Each photo gets NAME.index.png (0 background, 1, 2, ... the classes), NAME.overlay.jpg
and NAME.json; at the end all answers stand in predictions.json in COCO's form. Started again, it
goes on.
"""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from pipelines.commands import command
from pipelines.errors import DataError, UserError
from sst_tf import photos, pictures, prompts, runs
from sst_tf.config import ArgumentParser
from sst_tf.predictor import Predictor

PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
COLOURS = ((70, 200, 70), (255, 140, 0), (60, 120, 255), (220, 60, 180), (0, 190, 190),
           (230, 210, 40))


def parse_mark(text):
    """What stands after "=" in --support: a path, `prompts.Box` or `prompts.Scribbles`."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "box":
        try:
            return prompts.Box(*map(float, rest.split(",")))
        except (TypeError, ValueError):
            raise UserError(f"--support: {text!r}: box:x0,y0,x1,y1 in pixels is due") from None
    if colon and kind == "scribbles":
        values = photos.picture_values(rest)
        return prompts.Scribbles(values == 255, values == 128)
    return text


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
            shown = pictures.overlay(shown, (scene.index == number).astype(np.uint8),
                                     COLOURS[(number - 1) % len(COLOURS)])
        _write(self.folder / f"{key}.index.png", cv2.imencode(".png", scene.index)[1])
        _write(self.folder / f"{key}.overlay.jpg", cv2.imencode(".jpg", shown[..., ::-1])[1])
        runs.write_json(self.folder / f"{key}.json", {
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
        runs.write_json(path, {"images": images, "annotations": annotations, "categories": [
            {"id": i, "name": name} for i, name in enumerate(self.names, start=1)]})
        return path


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
            waiting.append((key, photos.load(item)))
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


def _videos(found):
    return [(key, path) for key, path in found if path.suffix.lower() in VIDEOS]


def _write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    partial.write_bytes(data.tobytes())
    partial.replace(path)


@command
def main(argv=None):
    parser = ArgumentParser(prog="python -m sst_tf.predict", description=__doc__)
    parser.add_argument("--run_dir", required=True, help="a trained run (sst_tf.train)")
    parser.add_argument("--support", nargs="+", default=[], metavar="PHOTO=MARK",
                        help="marked photos of one class")
    parser.add_argument("--name", default="object", help="name of that class")
    parser.add_argument("--card", nargs="+", default=[], help="class cards taught before")
    parser.add_argument("--save_card", help="write what --support taught, for --card")
    parser.add_argument("--input", nargs="+", default=[], help="folders, photos, videos")
    parser.add_argument("--output", default="predictions", help="folder of answers")
    parser.add_argument("--always_answer", action="store_true",
                        help="a mask even where the class seems absent")
    parser.add_argument("--batch", type=int, default=4, help="photos at once")
    parser.add_argument("--every", type=int, default=1, help="every n-th frame of a video")
    options = parser.parse_args(argv)
    if not options.support and not options.card:
        raise UserError("nothing to look for: --support PHOTO=MARK teaches a class, --card takes "
                        "one taught before")
    found = find_photos(options.input)
    predictor = Predictor.from_run(options.run_dir, empty=not options.always_answer)
    for path in options.card:
        card = predictor.add_card(path)
        print(f"{path}: class {card.name!r}, {card.shots}-shot")
    if options.support:
        pairs = [pair.rpartition("=")[::2] for pair in options.support]
        if any(not photo or not mark for photo, mark in pairs):
            raise UserError("--support: PHOTO=MARK is due, such as mug.jpg=mug_mask.png")
        card = predictor.set_support([photo for photo, _ in pairs],
                                     [parse_mark(mark) for _, mark in pairs], options.name)
        print(f"taught {card.name!r} from {card.shots} photo(s), marked by "
              f"{', '.join(sorted(set(card.how)))}; their own IoU before and after the step: "
              + ", ".join(f"{a:.2f} and {b:.2f}" for a, b in
                          zip(card.score, card.score_after, strict=True)))
        if options.save_card:
            print(f"written to {card.save(options.save_card)}")
    if not found:
        return
    done, failed = predict_files(predictor, found, options.output, max(1, options.batch),
                                 max(1, options.every))
    for key, path in _videos(found):
        if target := write_video(options.output, key, path, max(1, options.every)):
            print(f"written to {target}")
    print(f"{len(done)} answered, in {options.output}")
    if failed:
        print(f"{len(failed)} not answered:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
