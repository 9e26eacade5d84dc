# SPDX-License-Identifier: Apache-2.0
"""The graphs of the page: photos of any size in, maps at the photo's size out.

Three, so that a photo is encoded once, however many classes are looked for in it and however often:
`embed` (photo to features), `tune` (features and a mark to what is kept of a shot), `segment_many`
(features and the shots of N classes to N maps). Resizing is inside, by the functions that
`Predictor` calls.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.reading.transforms import framed_size, resize_class_mask, resize_image, restore
from sst_tf.evaluation.metrics import BINS
from sst_tf.model.found import TOP
from sst_tf.model.inference import Inference
from sst_tf.photos.predictor import Predictor
from sst_tf.photos.teaching import cells_of

NAMES = ("embed", "tune", "segment_many")


class PageGraphs:
    """What the page runs of a predictor's model.

    Args:
        predictor: `Predictor`; its classes do not matter.
    """

    def __init__(self, predictor: Predictor):
        self.inference: Inference = predictor.model.inference
        self.summary_size = predictor.model.head.summary_size
        self.channels = predictor.config.model.channels
        self.answering = predictor.config.model.answering
        self.side, self.resize = predictor.config.data.image_size, predictor.config.data.resize

    def specs(self) -> dict[str, dict[str, tf.TensorSpec]]:
        """{graph: {input: `tf.TensorSpec`}}; one photo at a time, N classes of K shots."""
        def spec(name, shape, dtype):
            return {name: tf.TensorSpec(shape, dtype, name)}

        features = spec("features", [1, None, None, self.channels], tf.float32)
        return {
            "embed": spec("photo", [None, None, 3], tf.uint8),
            "tune": features | spec("mask", [None, None], tf.uint8),
            "segment_many": features
            | spec("prototype", [None, None, self.summary_size], tf.float32)
            | spec("score", [None, None], tf.float32) | spec("size", [2], tf.int32)}

    def functions(self) -> dict[str, Callable]:
        """{graph: method}."""
        return {name: getattr(self, name) for name in NAMES}

    def embed(self, photo: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features [1, h, w, C] of a photo uint8 [H, W, 3] RGB."""
        image = tf.ensure_shape(resize_image(photo, self.side, self.resize),
                                [self.side, self.side, 3])
        return {"features": self.inference.embed_photos(image[None])}

    def tune(self, features: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is kept of one shot.

        Args:
            features: of `embed`.
            mask: uint8 [H, W] of 0, 1, 255 at the photo's size.
        Returns:
            `prototype`, `untuned` [D]; `score`, `score_after` [1], IoU of the photo's own
            segmentation before and after the step; `cells` [1], area of the mark in cells of the
            features; `own` [H, W], its probability after the step;
            `step` [H, W], how far the step moves each place.
        """
        framed = tf.ensure_shape(resize_class_mask(mask, self.side, self.resize),
                                 [self.side, self.side])
        kept, own = self.inference.teach(features, framed[None])
        size = tf.shape(mask)
        return {"prototype": kept.prototype[0], "untuned": kept.untuned_prototype[0],
                "score": kept.score, "score_after": kept.score_after,
                "cells": cells_of(framed[None], features)[None],
                "own": restore(tf.sigmoid(own.after[0]), size, self.resize),
                "step": restore(own.step[0], size, self.resize)}

    def segment_many(self, features: tf.Tensor, prototype: tf.Tensor, score: tf.Tensor,
                     size: tf.Tensor) -> dict[str, tf.Tensor]:
        """N classes in a photo.

        Args:
            features: of `embed`.
            prototype, score: of K shots of each class, [N, K, D] and [N, K].
            size: (H, W) of the photo.
        Returns:
            `probability` [N, H, W] and `presence` [N], as `Predictor` has them.
        """
        shots = prototype[None]
        maps = self.inference.segment_many(features, shots, score[None], (self.side, self.side),
                                           *self.answering)
        agreement = self.inference.agreement_many(features, maps, shots)
        return {"probability": restore(maps[0], size, self.resize),
                "presence": presence_score(maps[0], agreement[0], framed_size(
                    size[0], size[1], self.side, self.resize))}


def presence_score(probability: tf.Tensor, agreement: tf.Tensor, filled: tuple[Any, Any]
                   ) -> tf.Tensor:
    """`evaluation.presence.score_map` of N maps [S, S] in TensorFlow's operations.

    Args:
        filled: (rows, columns) of the maps that the photo fills; the rest is padding.
    """
    side = probability.shape[1]
    rows, columns = (tf.range(side) < one for one in filled)
    levels = tf.where(rows[:, None] & columns, tf.floor(probability * BINS) / BINS, 0.0)
    count = tf.cast(filled[0] * filled[1], tf.float32) * TOP  # pixels, the last of them in part
    most = int(side * side * TOP) + 1
    highest = tf.math.top_k(tf.reshape(levels, [-1, side * side]), most)[0]
    share = tf.clip_by_value(count - tf.range(most, dtype=tf.float32), 0.0, 1.0)
    return tf.linalg.matvec(highest, share) / count * tf.square(tf.maximum(agreement, 0.0))
