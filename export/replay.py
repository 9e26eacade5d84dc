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
Call = Callable[[str, Arrays], Arrays]  # (signature, {input: array}) -> {output: array}
IOU = 5e-3  # by which an IoU may differ: of a pixel that rounds to the other side


class Different(Exception):
    """An answer that is not what is due; says which output, by how much."""


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


def tuned_first(call: Call, batch: Arrays) -> Arrays:
    """`segment`'s answer through `tune`, which tells the supports' own IoU, and `segment_tuned`."""
    tuned = _tuned(call, batch)
    answer = call("segment_tuned", {"query_image": batch["query_image"], **tuned})
    return answer | {"support_iou": tuned["score"]}


def all_classes(call: Call, batch: Arrays) -> Arrays:
    """Every query under the classes of all rows, by `tune` and `segment_many`."""
    rows, tuned = len(batch["query_image"]), _tuned(call, batch)
    answer = call("segment_many", {"query_image": batch["query_image"], **{
        name: np.repeat(value[None], rows, 0) for name, value in tuned.items()}})
    return answer | {"support_iou": tuned["score"]}


def own_class(answer: Arrays, threshold: float) -> Arrays:
    """Of `all_classes`, each query under the class of its own row: what `segment` owes.

    Raises:
        Different: `index` is not the most probable class from the threshold on.
    """
    found = answer["probability"]  # [B, N, H, W]
    index = np.where(found.max(1) >= np.float32(threshold), found.argmax(1) + 1, 0)
    if not np.array_equal(answer["index"], index):
        raise Different("index: not the most probable class")
    rows = np.arange(len(found))
    return {"probability": found[rows, rows], "support_iou": answer["support_iou"]}


def every_route(call: Call, batch: Arrays, due: Arrays, threshold: float, tolerance: float,
                masks: float) -> tuple[float, float]:
    """`owed` of `segment` and of what `tune` leaves, by one class and by many; the worst of all.

    Raises:
        Different: naming the route, too.
    """
    routes: dict[str, Callable[[], Arrays]] = {
        "segment": lambda: call("segment", batch),
        "tune and segment_tuned": lambda: tuned_first(call, batch),
        "tune and segment_many": lambda: own_class(all_classes(call, batch), threshold)}
    found = []
    for route, answer in routes.items():
        try:
            found.append(owed(answer(), due, tolerance, masks))
        except Different as error:
            raise Different(f"{route}: {error}") from None
    return max(one for one, _ in found), max(other for _, other in found)


def worst_of(trained: Trained, call: Call, batches: list[Arrays], tolerance: float,
             masks: float) -> float:
    """The largest difference of probability from a Keras model, by `every_route` of all batches."""
    return max(every_route(call, batch, expected(trained, batch), trained.threshold / BINS,
                           tolerance, masks)[0] for batch in batches)


def owed(answer: Arrays, due: Arrays, tolerance: float, masks: float) -> tuple[float, float]:
    """How far an answer is from what is due: (largest difference of probability, share of the
    mask's pixels that differ, 0.0 of an answer without one).

    Args:
        answer: any outputs of `expected`; all that are there are compared.
        tolerance: of probabilities. Of an IoU it is at least `IOU`.
        masks: share of pixels.
    Raises:
        Different: an output that differs by more, or is no number.
    """
    found = largest_difference(answer, due)
    for name, allowed in (("probability", tolerance), ("support_iou", max(IOU, tolerance))):
        if name in found and not found[name] <= allowed:
            raise Different(f"{name} differs by {found[name]:.1e} (at most {allowed:.0e} is "
                            "allowed)")
    share = float(np.mean(answer["mask"] != due["mask"])) if "mask" in answer else 0.0
    if not share <= masks:
        raise Different(f"{share:.2%} of a batch's masks differ (at most {masks:.2%} is allowed)")
    return found.get("probability", 0.0), share


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


def decoded(trained: Trained, source: Source, episode: Episode) -> Arrays:
    """The inputs of `segment` for one episode, as Python reads and resizes its photos."""
    data = trained.config.data
    return {
        "support_image": np.stack([[resize_image(source.read_image(name), data.image_size,
                                                 data.resize) for name in episode.support]]),
        "support_mask": np.stack([[resize_class_mask(
            source.class_mask(name, episode.support_class_id), data.image_size, data.resize)
            for name in episode.support]]),
        "query_image": resize_image(source.read_image(episode.query), data.image_size,
                                    data.resize)[None].numpy()}


def expected_mask(trained: Trained, source: Source, episode: Episode) -> np.ndarray:
    """The uint8 mask of 0 and 255 [H, W] that `segment_bytes` owes, through Python."""
    answer = expected(trained, decoded(trained, source, episode))
    data = graph_decoding.answer(
        tf.constant(answer["probability"][0]), source.read_image(episode.query).shape[:2],
        trained.threshold / BINS, trained.config.data.resize)
    return tf.io.decode_png(data)[..., 0].numpy()


def largest_difference(one: Arrays, other: Arrays) -> dict[str, float]:
    """The largest absolute difference of two dictionaries of arrays, by their common names."""
    return {name: float(np.max(np.abs(one[name].astype(np.float64) - other[name])))
            for name in one.keys() & other.keys() if name != "mask"}


def beside(trained: Trained, call: Call, batches: list[Arrays]) -> tuple[float, float]:
    """How far `segment` is from a Keras model: (largest difference of probability, share of the
    masks' pixels that differ).
    """
    pairs = [(call("segment", batch), expected(trained, batch)) for batch in batches]
    return (max(largest_difference(*pair)["probability"] for pair in pairs),
            float(np.mean([np.mean(one["mask"] != other["mask"]) for one, other in pairs])))
