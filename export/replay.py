# SPDX-License-Identifier: Apache-2.0
"""Photos through the Keras model and through an export of it, and how far the answers differ."""

from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from export import graph_decoding
from export.trained import Trained
from pipelines import Episode, Source
from pipelines.reading.transforms import resize_class_mask, resize_image
from sst_tf.evaluation.metrics import BINS
from sst_tf.model import losses

Arrays = dict[str, np.ndarray]


def expected(trained: Trained, batch: Arrays) -> Arrays:
    """What the Keras model answers to the inputs of `segment`, by output name."""
    answer = trained.answer({name: tf.constant(value) for name, value in batch.items()})
    probability = tf.sigmoid(answer.logit).numpy()
    mask = batch["support_mask"]
    flat = (-1, *mask.shape[2:])
    iou = losses.hard_iou(tf.reshape(answer.support_logit, flat), mask.reshape(flat))
    return {"probability": probability,
            "mask": (probability >= trained.threshold / BINS).astype(np.int32),
            "support_iou": iou.numpy().reshape(mask.shape[:2])}


def tuned_first(call: Callable[[str, Arrays], Arrays], batch: Arrays) -> Arrays:
    """`segment`'s answer through `tune` and `segment_tuned`.

    Args:
        call: (signature, {input: array}) -> {output: array}.
    """
    return call("segment_tuned", {"query_image": batch["query_image"], **_tuned(call, batch)})


def all_classes(call: Callable[[str, Arrays], Arrays], batch: Arrays) -> Arrays:
    """Every query under the classes of all rows, by `tune` and `segment_many`."""
    rows = len(batch["query_image"])
    return call("segment_many", {"query_image": batch["query_image"], **{
        name: np.repeat(value[None], rows, 0) for name, value in _tuned(call, batch).items()}})


def own_class(answer: Arrays) -> Arrays:
    """Of `all_classes`, each query under the class of its own row: what `segment` owes."""
    rows = np.arange(len(answer["probability"]))
    return {"probability": answer["probability"][rows, rows]}


def _tuned(call, batch):
    rows, shots = batch["support_mask"].shape[:2]
    tuned = call("tune", {name: batch[name].reshape(-1, *batch[name].shape[2:])
                          for name in ("support_image", "support_mask")})
    return {"prototype": tuned["prototype"].reshape(rows, shots, -1),
            "score": tuned["score"].reshape(rows, shots)}


def encoded(source: Source, episode: Episode) -> Arrays:
    """The inputs of `segment_bytes` for one episode: lossless bytes of photos at their size."""
    def png(pixels):
        return cv2.imencode(".png", pixels)[1].tobytes()

    return {
        "support_image": np.array([[png(source.read_image(name)[..., ::-1])
                                    for name in episode.support]], object),
        "support_mask": np.array([[png(source.class_mask(name, episode.support_class_id))
                                   for name in episode.support]], object),
        "query_image": np.array([png(source.read_image(episode.query)[..., ::-1])], object)}


def expected_mask(trained: Trained, source: Source, episode: Episode) -> np.ndarray:
    """The uint8 mask of 0 and 255 [H, W] that `segment_bytes` owes, through Python."""
    data = trained.config.data
    query = source.read_image(episode.query)
    batch = {
        "support_image": np.stack([[resize_image(source.read_image(name), data.image_size,
                                                 data.resize) for name in episode.support]]),
        "support_mask": np.stack([[resize_class_mask(
            source.class_mask(name, episode.support_class_id), data.image_size, data.resize)
            for name in episode.support]]),
        "query_image": resize_image(query, data.image_size, data.resize)[None].numpy()}
    probability = tf.constant(expected(trained, batch)["probability"][0])
    data = graph_decoding.answer(probability, query.shape[:2], trained.threshold / BINS,
                                 data.resize)
    return tf.io.decode_png(data)[..., 0].numpy()


def largest_difference(one: Arrays, other: Arrays) -> dict[str, float]:
    """The largest absolute difference of two dictionaries of arrays, by their common names."""
    return {name: float(np.max(np.abs(one[name].astype(np.float64) - other[name])))
            for name in one.keys() & other.keys() if name != "mask"}


def beside(trained: Trained, call: Callable[[str, Arrays], Arrays], batches: list[Arrays]
           ) -> tuple[float, float]:
    """How far `segment` is from a Keras model: (largest difference of probability, share of the
    masks' pixels that differ).

    Args:
        call: as of `tuned_first`.
    """
    pairs = [(call("segment", batch), expected(trained, batch)) for batch in batches]
    return (max(largest_difference(*pair)["probability"] for pair in pairs),
            float(np.mean([np.mean(one["mask"] != other["mask"]) for one, other in pairs])))
