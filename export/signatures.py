# SPDX-License-Identifier: Apache-2.0
"""The served functions of a segmenter, guarded, with the tuning step inside."""

from collections.abc import Callable

import tensorflow as tf

from export import graph_decoding, guards
from sst_tf.evaluation.metrics import BINS
from sst_tf.model import losses
from sst_tf.model.inference import index_map


class Signatures:
    """What a server may ask of a trained segmenter.

    Args:
        model: `sst_tf.model.segmenter.SSTSegmenter`.
        shots: K of `segment`, `segment_bytes`, `segment_tuned` and `segment_many`.
        threshold: bin (of `metrics.BINS`) from which a pixel is foreground: the run's operating
            point, chosen on base classes.
        image_size: side S that encoded photos are resized to.
        resize: how, "squash" or "pad".
        fixed: photos of any other size than S are refused, and the graph knows its shapes.
        jit_compile: compile by XLA what lies behind the guards.
    """

    def __init__(self, model, shots, threshold, image_size, resize="squash", fixed=False,
                 jit_compile=False):
        self.model, self.inference, self.shots = model, model.inference, shots
        self.threshold = threshold / BINS
        self.image_size, self.resize = image_size, resize
        self.side = image_size if fixed else None
        self.jit_compile = jit_compile

    def specs(self) -> dict[str, dict[str, tf.TensorSpec]]:
        """{signature: {input: `tf.TensorSpec`}}; dimension 0 is the batch."""
        k, d, s = self.shots, self.model.head.summary_size, self.side

        def spec(name, shape, dtype):
            return {name: tf.TensorSpec([None, *shape], dtype, name)}

        support = (spec("support_image", [k, s, s, 3], tf.uint8)
                   | spec("support_mask", [k, s, s], tf.uint8))
        one = (spec("support_image", [s, s, 3], tf.uint8)
               | spec("support_mask", [s, s], tf.uint8))
        query = spec("query_image", [s, s, 3], tf.uint8)
        tuned = spec("prototype", [k, d], tf.float32) | spec("score", [k], tf.float32)
        encoded = (spec("support_image", [k], tf.string) | spec("support_mask", [k], tf.string)
                   | spec("query_image", [], tf.string))
        many = spec("prototype", [None, k, d], tf.float32) | spec("score", [None, k], tf.float32)
        return {"segment": support | query, "segment_bytes": encoded, "tune": one,
                "segment_tuned": query | tuned, "segment_many": query | many,
                "self_segment": one}

    def functions(self) -> dict[str, Callable]:
        """{signature: concrete function}."""
        return {name: self._function(name).get_concrete_function(**inputs)
                for name, inputs in self.specs().items()}

    def _function(self, name):
        return tf.function(getattr(self, name), autograph=False)

    # ---- the signatures ---------------------------------------------------------------------

    def segment(self, support_image: tf.Tensor, support_mask: tf.Tensor, query_image: tf.Tensor
                ) -> dict[str, tf.Tensor]:
        """Probability [B, H, W], mask [B, H, W] int32, the supports' own IoU [B, K]."""
        support_image = guards.photos("support_image", support_image, [None, self.shots],
                                      self.side)
        support_mask = guards.masks("support_mask", support_mask, support_image, "support_image")
        query_image = guards.photos("query_image", query_image, [None], self.side)
        query_image = guards.batch("query_image", query_image, support_image, "support_image")
        query_image = guards.same_size("query_image", query_image, support_image, "support_image")
        return self._work(self._segment, support_image, support_mask, query_image)

    def segment_bytes(self, support_image: tf.Tensor, support_mask: tf.Tensor,
                      query_image: tf.Tensor) -> dict[str, tf.Tensor]:
        """PNG bytes of each query's mask at its own size, from encoded photos of any size."""
        support_image = tf.ensure_shape(support_image, [None, self.shots])
        support_mask = tf.ensure_shape(support_mask, [None, self.shots])
        query_image = tf.ensure_shape(query_image, [None])
        query_image = guards.required(query_image, [
            (tf.shape(query_image)[0] > 0, "query_image: empty; at least one photo is expected"),
            (tf.shape(query_image, tf.int64)[0] * (self.shots + 1) * self.image_size**2
             <= guards.MAX_PIXELS, f"query_image: more than {guards.MAX_PIXELS} pixels of the "
             f"{self.image_size} x {self.image_size} that photos are brought to in one request")])
        support_image = guards.batch("support_image", support_image, query_image, "query_image")
        support_mask = guards.batch("support_mask", support_mask, query_image, "query_image")
        images, image_sizes = self._decode(graph_decoding.photo, support_image, [3])
        marks, mask_sizes = self._decode(graph_decoding.mask, support_mask, [])
        queries, sizes = self._decode(graph_decoding.photo, query_image, [3])
        marks = guards.required(marks, [(tf.reduce_all(image_sizes == mask_sizes),
                                         "support_mask: a mask is not of its photo's size")])
        answer = self._work(self._segment, images, marks, queries)
        encoded = tf.map_fn(
            lambda pair: graph_decoding.answer(pair[0], pair[1], self.threshold, self.resize),
            (answer["probability"], sizes), fn_output_signature=tf.string)
        return {"mask_bytes": encoded, "support_iou": answer["support_iou"]}

    def tune(self, support_image: tf.Tensor, support_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """Prototype [B, D] and score [B] of B supports, each tuned on its own.

        The prototype is the method's summary of a support; D = C with SST.
        """
        return self._work(self._tune, *self._one(support_image, support_mask))

    def segment_tuned(self, query_image: tf.Tensor, prototype: tf.Tensor, score: tf.Tensor
                      ) -> dict[str, tf.Tensor]:
        """Probability and mask of photos whose class `tune` was shown before."""
        query_image = guards.photos("query_image", query_image, [None], self.side)
        prototype, score = guards.tuned(prototype, score,
                                        [self.shots, self.model.head.summary_size])
        query_image = guards.batch("query_image", query_image, prototype, "prototype")
        return self._work(self._segment_tuned, query_image, prototype, score)

    def segment_many(self, query_image: tf.Tensor, prototype: tf.Tensor, score: tf.Tensor
                     ) -> dict[str, tf.Tensor]:
        """N classes in each photo, [B, N, H, W], for one pass of the encoder.

        `index` [B, H, W] int32 is 0 where no class reaches the threshold, else the number, from 1
        on, of the most probable class.
        """
        query_image = guards.photos("query_image", query_image, [None], self.side)
        prototype, score = guards.tuned(prototype, score,
                                        [None, self.shots, self.model.head.summary_size])
        query_image = guards.batch("query_image", query_image, prototype, "prototype")
        query_image = guards.answers("query_image", query_image, prototype)
        return self._work(self._segment_many, query_image, prototype, score)

    def self_segment(self, support_image: tf.Tensor, support_mask: tf.Tensor
                     ) -> dict[str, tf.Tensor]:
        """Supports under their own mask before and after the step, and where the step acts.

        `before`, `after`: probabilities [B, H, W]; `after` is the tuned prototype on the untouched
        photo. `gradient` [B, H, W] is the length of the correction at each place.
        """
        return self._work(self._self_segment, *self._one(support_image, support_mask))

    # ---- the work behind the guards ---------------------------------------------------------

    def _work(self, function, *checked):
        # XLA compiles assertions to nothing, so no guard may be inside of what it compiles.
        if not self.jit_compile:
            return function(*checked)
        return tf.function(function, autograph=False, jit_compile=True)(*checked)

    def _tune(self, support_image, support_mask):
        tuned = self.inference.tune(self.inference.embed_photos(support_image), support_mask)
        return {"prototype": tuned.prototype, "score": tuned.score}

    def _segment_tuned(self, query_image, prototype, score):
        return self._answer(self.inference.segment(
            self.inference.embed_photos(query_image), prototype, score, _size(query_image),
            *self.model.answering))

    def _segment_many(self, query_image, prototype, score):
        probability = self.inference.segment_many(
            self.inference.embed_photos(query_image), prototype, score, _size(query_image),
            *self.model.answering)
        return {"probability": probability, "index": index_map(probability, self.threshold)}

    def _self_segment(self, support_image, support_mask):
        own = self.inference.self_segment(self.inference.embed_photos(support_image), support_mask)
        return {"before": tf.sigmoid(own.before), "after": tf.sigmoid(own.after),
                "gradient": own.step}

    def _segment(self, support_image, support_mask, query_image):
        answer = self.model({"support_image": support_image, "support_mask": support_mask,
                             "query_image": query_image})
        size = _size(query_image)
        flat = [tf.reshape(maps, [-1, *size]) for maps in (answer.support_logit, support_mask)]
        iou = tf.reshape(losses.hard_iou(*flat), [-1, self.shots])
        return self._answer(tf.sigmoid(answer.logit)) | {"support_iou": iou}

    # ---- what they share --------------------------------------------------------------------

    def _answer(self, probability):
        return {"probability": probability,
                "mask": tf.cast(probability >= self.threshold, tf.int32)}

    def _one(self, support_image, support_mask):
        support_image = guards.photos("support_image", support_image, [None], self.side)
        return support_image, guards.masks("support_mask", support_mask, support_image,
                                           "support_image")

    def _decode(self, read, data, channels):
        """Strings [...] to uint8 [..., S, S, *channels] and their own sizes [..., 2]."""
        side = self.image_size
        decoded, sizes = tf.map_fn(
            lambda one: read(one, side, self.resize), tf.reshape(data, [-1]),
            fn_output_signature=(tf.TensorSpec([side, side, *channels], tf.uint8),
                                 tf.TensorSpec([2], tf.int32)))
        known = [-1, *data.shape[1:]]
        return (tf.reshape(decoded, [*known, side, side, *channels]),
                tf.reshape(sizes, [*known, 2]))


def _size(images):
    """(H, W) of [B, H, W, C]."""
    dynamic = tf.shape(images)
    return tuple(images.shape[i] or dynamic[i] for i in (1, 2))
