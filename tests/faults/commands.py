# SPDX-License-Identifier: Apache-2.0
"""The commands that write, on tiny data: what they are called with and what they need."""

import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.faults.nursery import Job
from tests.pipelines.tars import tar
from tests.pipelines.tiny_voc import write_mask, write_tiny_voc

PHOTOS = 40  # of the small VOC that is prepared
DIGESTS = "digests.json"  # of its archives
TRAIN = ["--model.backbone", "small", "--model.weights", "none", "--model.train_backbone", "true",
         "--model.channels", "8", "--data.image_size", "33", "--train.epochs", "3",
         "--train.steps_per_epoch", "2", "--train.batch", "2", "--train.validation_episodes", "4",
         "--train.novel_episodes", "4", "--evaluate.episodes", "4", "--evaluate.shots", "[1]",
         "--evaluate.threshold_episodes", "4", "--evaluate.resamples", "20",
         "--evaluate.absent_episodes", "4", "--optimizer.name", "adam",
         "--data.dataset", "voc", "--data.novel_classes", "[cup,fork]",
         "--data.novel_policy", "keep", "--data.validation_share", "0.4"]


class Command(NamedTuple):
    """A command that writes.

    Attributes:
        name: for the table.
        call: as of `Job`.
        argv: its words, from the folder of inputs and the folder that it writes in.
        share: of the kills of its name.
        by_python: its writing is Python's, so that it can be killed at a change of a file.
    """

    name: str
    call: str
    argv: Callable[[Path, Path], list]
    share: float = 1.0
    by_python: bool = True

    def job(self, inputs: Path, folder: Path, **how) -> Job:
        return Job(self.call, [str(word) for word in self.argv(inputs, folder)], str(folder), **how)


def _predict(inputs, folder, output="answers"):
    return ["--run_dir", inputs / "run", "--support",
            f"{inputs / 'photos/p00.png'}={inputs / 'mask.png'}", "--save_card",
            folder / "mug.npz", "--input", inputs / "photos", "--output", folder / output,
            "--always_answer", "--format", "coco", "yolo", "voc"]


COMMANDS = (
    Command("prepare sbd", "tests.faults.commands:prepare", lambda inputs, folder: [
        "sbd", "--root", folder / "data", "--archives", inputs / "archives"], 0.5),
    Command("prepare coco", "tests.faults.commands:prepare", lambda inputs, folder: [
        "coco", "--root", folder / "data", "--archives", inputs / "archives"], 0.5),
    Command("index", "pipelines.index.__main__:main", lambda inputs, folder: [
        "voc", "--root", inputs / "voc", "--classes", inputs / "voc/classes.txt", "--output",
        folder / "pairs.jsonl"]),
    Command("train", "tests.faults.commands:train", lambda inputs, folder: [
        *TRAIN, "--data.root", inputs / "voc", "--run_dir", folder / "run", "--resume"]),
    Command("export saved_model", "export.saved_model:main", lambda inputs, folder: [
        "--run_dir", inputs / "run", "--output", folder / "models"], 0.5),
    Command("export onnx", "export.onnx:main", lambda inputs, folder: [
        "--run_dir", inputs / "run", "--output", folder / "models", "--fixed_size"], 0.5),
    Command("predict", "sst_tf.predict:main", _predict),
    Command("batch", "sst_tf.batch:main", lambda inputs, folder: [
        "--run_dir", inputs / "run", "--card", inputs / "mug.npz", "--input",
        inputs / "photos", "--output", folder / "answers", "--always_answer", "--workers", "1",
        "--block", "2"], by_python=False),
)
BY_NAME = {command.name: command for command in COMMANDS}


def make_inputs(argv):
    """A job: fill the folder of inputs, `argv[0]`. Runs TensorFlow, so never in the parent."""
    from sst_tf import predict
    from sst_tf.config import DataConfig
    from tests.export.conftest import make_run

    inputs = Path(argv[0])
    write_tiny_voc(inputs / "voc", photos=48)
    (inputs / "photos").mkdir()
    for number in range(8):
        shutil.copyfile(inputs / f"voc/JPEGImages/p{number:02d}.png",
                        inputs / f"photos/p{number:02d}.png")
    mask = np.array(Image.open(inputs / "voc/SegmentationClass/p00.png")) == 1
    Image.fromarray(mask.astype(np.uint8) * 255).save(inputs / "mask.png")
    _archives(inputs / "archives")
    data = DataConfig(dataset="voc", root=str(inputs / "voc"), image_size=33,
                      novel_classes=["cup", "fork"], novel_policy="keep", validation_share=0.4)
    make_run(inputs / "run", data)
    words = _predict(inputs, inputs)
    predict.main([str(word) for word in words[:6]])
    settled = time.time() - 3600  # what was just written would be read again each time
    for path in inputs.rglob("*"):
        os.utime(path, (settled, settled))


def _archives(folder):
    """Small ones of the publishers' form."""
    from scipy.io import savemat

    folder.mkdir()
    rng, photo = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(photo, format="jpeg")
    names, voc = [f"2008_{number:06d}" for number in range(PHOTOS)], "VOCdevkit/VOC2012"
    mask = np.zeros((60, 80), np.uint8)
    mask[5:30, 5:40] = 7
    write_mask(folder / "mask.png", mask)
    cell = np.zeros((1, 1), [("Segmentation", object)])
    cell[0, 0]["Segmentation"] = mask
    savemat(folder / "one.mat", {"GTcls": cell})
    given = (folder / "mask.png").read_bytes(), (folder / "one.mat").read_bytes()
    files = {f"{voc}/JPEGImages/{name}.jpg": photo.getvalue() for name in names}
    files |= {f"{voc}/SegmentationClass/{name}.png": given[0] for name in names[:10]}
    files |= {f"{voc}/ImageSets/Segmentation/{split}.txt": "".join(
        f"{name}\n" for name in part).encode()
        for split, part in (("train", names[:5]), ("val", names[5:10]))}
    tar(folder / "voc.tar", files)
    tar(folder / "sbd.tgz", {f"benchmark_RELEASE/dataset/cls/{name}.mat": given[1]
                            for name in names[5:]})
    for part in ("train2017", "val2017"):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for number in range(PHOTOS // 2):
                archive.writestr(f"{part}/{number:012d}.jpg", photo.getvalue())
    with zipfile.ZipFile(folder / "annotations2017.zip", "w") as archive:
        for part in ("train2017", "val2017"):
            archive.writestr(f"annotations/instances_{part}.json", "{}")
    (folder / DIGESTS).write_text(json.dumps({
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}))


def train(argv):
    """A job: `sst_tf.train` without graphs, as tracing takes longer than these few steps."""
    import tensorflow as tf

    from sst_tf import train

    tf.config.run_functions_eagerly(True)
    train.main(argv)


def prepare(argv):
    """A job: `pipelines.prepare` as if these small archives were the publishers'."""
    from pipelines.prepare import archives, coco, pascal
    from pipelines.prepare.__main__ import main

    given = Path(argv[argv.index("--archives") + 1])

    digests = json.loads((given / DIGESTS).read_text())

    def archive(name):
        return archives.Archive(f"http://127.0.0.1:9/{name}", digests[name])

    pascal.VOC, pascal.SBD = archive("voc.tar"), archive("sbd.tgz")
    pascal.COUNTS = {"photos": PHOTOS, "masks": 10, "sbd": PHOTOS - 5, "trainaug": PHOTOS - 5,
                     "all": PHOTOS}
    coco.COUNTS = {"train2017": PHOTOS // 2, "val2017": PHOTOS // 2}
    coco.ARCHIVES = {name: archive(f"{name}.zip")
                     for name in ("train2017", "val2017", "annotations2017")}
    main(argv)
