# SPDX-License-Identifier: Apache-2.0
"""ONNX files whose encoder counts in 8 bits; the step, the head and the answers stay in float32.

Static quantisation by onnxruntime: photos of base classes say what range each activation has. Every
photo stands in every role of every file, so all files have the same ranges, and tuning first and
asking later answers as one call does.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from tqdm import tqdm

from export.trained import Trained
from pipelines import episode_dataset
from pipelines.errors import UserError
from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.metrics import Counts, mean_iou

Arrays = dict[str, np.ndarray]
Model = Callable[[str, Arrays], Arrays]  # of a signature's name and its inputs
Photos = Sequence[tuple[np.ndarray, np.ndarray]]  # uint8 [S, S, 3] and their masks [S, S]

OPERATIONS = ("Conv", "Relu", "Add", "MaxPool", "Concat")
PHOTOS = 64  # that ranges are taken from
MOST_LOST = 0.005  # of mIoU
LEAST_GAIN = 1.6  # of the rate, on a processor with VNNI
RESAMPLES = 1000


class Trials:
    """A run's photos on which files in 8 bits prove themselves.

    Args:
        trained: the run.
        count: episodes of base classes, of its validation photos.
    Raises:
        DataError: the run's data set is not at hand.
    """

    def __init__(self, trained: Trained, count: int):
        self.trained = trained
        self.episodes, self.source = trained.validation(count)

    def narrow(self, folder: Path, names: Sequence[str], model: Callable[[Path], Model],
               inputs: Callable[[str, Photos, Model], Iterable[Arrays]]) -> dict[str, Any]:
        """Put 8 bits into the encoder of a folder's ONNX files; what that changed, JSON-able.

        Args:
            names: of the files that hold an encoder.
            model: what the folder's files answer, once loaded.
            inputs: of the file `name` for photos of base classes, given what float32 answers.
        Raises:
            UserError: the files, now in 8 bits, lose too much or gain too little.
        """
        batches = self.trained.batches(self.trained.training(PHOTOS), self.source)
        photos = [(batch["support_image"][0, 0], batch["support_mask"][0, 0]) for batch in batches]
        wide, before = _megabytes(folder), model(folder)
        for name in names:
            path = folder / f"{name}.onnx"
            quantise(path, path, (self.trained.model.encoder.backbone.name, "embedding"),
                     inputs(name, photos, before))
        found = self._compare(before, model(folder))
        refuse(found, has_vnni())
        return {**found._asdict(), "lost": found.lost, "vnni": has_vnni(),
                "calibrated_on": len(photos), "megabytes_float32": wide,
                "megabytes": _megabytes(folder)}

    def _compare(self, before, after):
        """Segment the episodes by both, in turn."""
        data, threshold = self.trained.config.data, self.trained.threshold
        counts = [Counts.empty(self.episodes), Counts.empty(self.episodes)]
        seconds = np.zeros((len(self.episodes), 2))
        batches = episode_dataset(self.source, self.episodes, image_size=data.image_size, batch=1,
                                  resize=data.resize).as_numpy_iterator()
        for row, batch in enumerate(tqdm(batches, total=len(self.episodes), unit="episode",
                                         desc="int8 against float32")):
            given = {name: batch[name] for name in ("support_image", "support_mask", "query_image")}
            for i, model in enumerate((before, after)):
                start = time.perf_counter()
                probability = model("segment", given)["probability"][0]
                seconds[row, i] = time.perf_counter() - start
                counts[i].put(row, probability, batch["query_mask"][0])
        weights = bootstrap.photo_weights(counts[0].photos, RESAMPLES)
        spread = mean_iou(counts[1], threshold, weights) - mean_iou(counts[0], threshold, weights)
        wide, narrow = (float(mean_iou(one, threshold)) for one in counts)
        return Compared(wide, narrow, bootstrap.interval(spread),
                        [1e3 * float(value) for value in np.median(seconds, 0)],
                        float(np.median(seconds[:, 0] / seconds[:, 1])), len(self.episodes),
                        self.source.name)


def _megabytes(folder):
    return sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6


def quantise(path: Path, target: Path, encoder: Sequence[str], inputs: Iterable[Arrays]) -> None:
    """Write an ONNX file again, with an encoder that counts in 8 bits.

    Weights have 7 bits of the 8, a scale a channel: without VNNI, sums of two products have 16 bits
    and would overflow. So the file answers alike on all processors.

    Args:
        path: of a float32 file.
        target: of the new one.
        encoder: names of the encoder's parts: its backbone and what follows.
        inputs: of the file, by name; one dictionary a photo.
    Raises:
        UserError: the file has no such part.
    """
    nodes = encoder_nodes(onnx.load(path), encoder)
    if not nodes:
        raise UserError(f"{path.name}: no operation of {' or '.join(encoder)} to quantise")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it warns of a step that gives these graphs nothing
    try:
        quantize_static(path, target, _Reader(inputs), quant_format=QuantFormat.QDQ,
                        op_types_to_quantize=list(OPERATIONS), nodes_to_quantize=nodes,
                        per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8)
    finally:
        logging.root.setLevel(level)


def encoder_nodes(model: onnx.ModelProto, encoder: Sequence[str]) -> list[str]:
    """Names of the operations that are quantised; none of a gradient, as the encoder has none."""
    inside = re.compile(rf"/({'|'.join(map(re.escape, encoder))})(_\d+)?/")
    # Keras' layer that joins two branches; the sums inside a normalisation need their 32 bits.
    joins = re.compile(r"/add(_\d+)?/")
    return [node.name for node in model.graph.node
            if node.op_type in OPERATIONS and inside.search(node.name)
            and (node.op_type != "Add" or joins.search(node.name))]


class _Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self._inputs = iter(inputs)

    def get_next(self):
        return next(self._inputs, None)


def every_role(name: str, photos: Photos, model: Model, shots: int) -> Iterator[Arrays]:
    """Inputs of the file `name` that show each photo in every role, one photo a time.

    Args:
        model: of the files in float32.
        shots: K.
    """
    for image, mask in photos:
        one = {"support_image": image[None], "support_mask": mask[None]}
        query = {"query_image": image[None]}
        classes = (1,) if name == "segment_many" else ()
        if name == "tune":
            yield one
        elif name == "segment":
            yield query | {key: np.repeat(value[None], shots, 1) for key, value in one.items()}
        else:
            yield query | {key: np.resize(value, (1, *classes, shots, *value.shape[1:]))
                           for key, value in model("tune", one).items()}


class Compared(NamedTuple):
    """Files in 8 bits against those in float32, on the same episodes.

    Attributes:
        float32, int8: mIoU at the operating point.
        interval: of int8 minus float32, 95 % over photos.
        milliseconds: of `segment`, an episode a time, both in turn: medians, float32 first.
        rate: how many times as fast it is; the median over episodes.
        episodes, data: how many, and of what data set.
    """

    float32: float
    int8: float
    interval: list[float]
    milliseconds: list[float]
    rate: float
    episodes: int
    data: str

    @property
    def lost(self) -> float:
        """Of mIoU."""
        return self.float32 - self.int8


def refuse(found: Compared, vnni: bool) -> None:
    """UserError where 8 bits lose too much or gain too little."""
    if found.lost > MOST_LOST:
        raise UserError(f"int8 loses {found.lost:.4f} of mIoU in {found.episodes} episodes of "
                        f"{found.data} (at most {MOST_LOST} is allowed); nothing was exported")
    if vnni and found.rate < LEAST_GAIN:
        raise UserError(f"int8 is {found.rate:.2f} times as fast as float32 here (at least "
                        f"{LEAST_GAIN} is asked of a processor with VNNI); nothing was exported")


def has_vnni() -> bool:
    """Whether this processor multiplies 8-bit numbers by instructions of their own (Linux, x86)."""
    try:
        return re.search(r"\bavx(512)?_vnni\b", Path("/proc/cpuinfo").read_text()) is not None
    except OSError:
        return False
