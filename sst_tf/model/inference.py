# SPDX-License-Identifier: Apache-2.0
"""The one way to an answer: tune a class once, segment photos often.

Tuning does not look at the query, so what it leaves of a class serves every photo. Training, served
graphs, evaluation and `Predictor` all go through the tuner and `Head`; whoever has photos and no
gradient to take goes through here.
"""

from typing import NamedTuple

import tensorflow as tf

from sst_tf.model import losses
from sst_tf.model.encoder import Encoder
from sst_tf.model.found import found_summary, look
from sst_tf.model.layers import resize_aligned
from sst_tf.model.methods import Head
from sst_tf.model.tuner import Tuner


class TunedSupport(NamedTuple):
    """What is kept of N marked photos."""

    prototype: tf.Tensor  # summary of R'_s; of SST, what is pooled from it [N, D]
    untuned_prototype: tf.Tensor  # summary of R_s [N, D]
    score: tf.Tensor  # IoU of S_sup before the step, the weight of Eq. 14 [N]
    score_after: tf.Tensor  # IoU of the tuned prototype's answer to the untouched photo [N]
    relative_update: tf.Tensor  # norm of the masked update over that of the masked R_s [N]


class SelfSegmentation(NamedTuple):
    """N marked photos under their own mask, at the masks' size."""

    before: tf.Tensor  # S_sup, foreground log-odds [N, H, W]
    after: tf.Tensor  # f_d(f_m(R_s, R'_s)): the untouched photo under the tuned prototype
    step: tf.Tensor  # how far the step moves each place, length of R_s - R'_s [N, H, W]


class Inference:
    """A segmenter's answers without its training.

    Args:
        encoder: f_e.
        tuner: f_b and f_t.
        head: f_m and f_d, or another method.
    """

    def __init__(self, encoder: Encoder, tuner: Tuner, head: Head):
        self.encoder, self.tuner, self.head = encoder, tuner, head

    @tf.function(reduce_retracing=True, autograph=False)
    def embed_photos(self, images: tf.Tensor) -> tf.Tensor:
        """R of raw RGB photos, [N, H, W, 3] -> [N, h, w, C] float32 (Eq. 2, 3)."""
        return tf.cast(self.encoder(images), tf.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def embed_features(self, features: tf.Tensor) -> tf.Tensor:
        """R of a frozen backbone's features, [N, h, w, C_b] -> [N, h, w, C] float32."""
        return tf.cast(self.encoder.embed(features), tf.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def tune(self, support_features: tf.Tensor, mask: tf.Tensor) -> TunedSupport:
        """Tune N supports, each on its own (Eq. 8 to 11).

        Args:
            support_features: R_s [N, h, w, C].
            mask: T_S [N, H, W] of 0, 1, 255.
        """
        return self.teach(support_features, mask)[0]

    @tf.function(reduce_retracing=True, autograph=False)
    def self_segment(self, support_features: tf.Tensor, mask: tf.Tensor) -> SelfSegmentation:
        """N supports under their own mask, before and after the step; arguments as in `tune`."""
        return self.teach(support_features, mask)[1]

    def teach(self, support_features: tf.Tensor, mask: tf.Tensor
              ) -> tuple[TunedSupport, SelfSegmentation]:
        """Both that a step on N supports leaves; arguments as in `tune`."""
        tuned = self.tuner(support_features, mask, head=self.head)
        after = self.head.segment(tf.cast(support_features, tf.float32), tuned.prototype,
                                  spatial(tuned.logit))
        moved = tf.norm(tuned.features - support_features, axis=-1)  # [N, h, w]
        kept = TunedSupport(tuned.prototype, tuned.untuned_prototype,
                            losses.hard_iou(tuned.logit, mask), losses.hard_iou(after, mask),
                            tuned.relative_update)
        return kept, SelfSegmentation(tuned.logit, after,
                                      resize_aligned(moved, spatial(tuned.logit)))

    @tf.function(autograph=False)  # traced anew for each K, fusion and share
    def segment(self, query_features: tf.Tensor, prototypes: tf.Tensor, scores: tf.Tensor, size,
                fusion: str = "weighted", second_look: float = 0.0) -> tf.Tensor:
        """Foreground probability [B, H, W] of photos under K summaries each (Eq. 7, 13, 14).

        Args:
            query_features: R_q [B, h, w, C].
            prototypes: [B, K, D], of `tune`.
            scores: [B, K], what the shots weigh.
            size: (H, W) of the answer.
            fusion: of K > 1 shots, see `Head.segment_shots`.
            second_look: share of what is found in a second look's summaries (`found.look`).
        """
        return tf.sigmoid(look(self.head, query_features, prototypes, scores, size, fusion,
                               second_look))

    def segment_many(self, query_features: tf.Tensor, prototypes: tf.Tensor, scores: tf.Tensor,
                     size, fusion: str = "weighted", second_look: float = 0.0) -> tf.Tensor:
        """Foreground probability [B, N, H, W] of photos under N classes of K summaries each.

        A photo's features are made once, however many classes are looked for in it.

        Args:
            query_features: R_q [B, h, w, C].
            prototypes: [B, N, K, D], of `tune`.
            scores: [B, N, K].
            size, fusion, second_look: as of `segment`.
        """
        maps = self.segment(_each_class(query_features, prototypes), _joined(prototypes),
                            _joined(scores), size, fusion, second_look)
        return tf.reshape(maps, [-1, tf.shape(scores)[1], *size])

    def agreement_many(self, query_features: tf.Tensor, probability: tf.Tensor,
                       prototypes: tf.Tensor) -> tf.Tensor:
        """`agreement` [B, N] of N classes; arguments as `segment_many` takes and gives them."""
        found = self.agreement(_each_class(query_features, prototypes), _joined(probability),
                               _joined(prototypes))
        return tf.reshape(found, [-1, tf.shape(prototypes)[1]])

    @tf.function(autograph=False)
    def agreement(self, query_features: tf.Tensor, probability: tf.Tensor,
                  prototypes: tf.Tensor) -> tf.Tensor:
        """How alike what was found is to what was marked, [B] in -1..1.

        The cosine of what was found (`found.found_summary`) to the K summaries that it was found
        by, their mean.

        Args:
            query_features: R_q [B, h, w, C].
            probability: the answer [B, H, W].
            prototypes: [B, K, D], of `tune`.
        """
        found = found_summary(self.head, query_features, probability)
        cosines = tf.reduce_sum(tf.math.l2_normalize(found, -1)
                                * tf.math.l2_normalize(prototypes, -1), -1)
        return tf.reduce_mean(cosines, axis=1)


def _each_class(features, prototypes):
    """Photos, each once for each of its N classes, [B N, h, w, C]."""
    return tf.repeat(features, tf.shape(prototypes)[1], axis=0)


def _joined(values):
    """[B, N, ...] -> [B N, ...], static where known."""
    dynamic = tf.shape(values)
    return tf.reshape(values, [-1, *(values.shape[i] or dynamic[i]
                                     for i in range(2, len(values.shape)))])


def index_map(probability: tf.Tensor, threshold: float) -> tf.Tensor:
    """The most probable of N classes at each place, int32 [B, H, W].

    0 is background, where none reaches the threshold; i is the i-th class. The first of classes
    that are as probable wins.

    Args:
        probability: [B, N, H, W].
        threshold: probability from which a pixel is foreground.
    """
    best = tf.argmax(probability, axis=1, output_type=tf.int32) + 1
    return tf.where(tf.reduce_max(probability, axis=1) >= threshold, best, 0)


def spatial(maps: tf.Tensor) -> tuple:
    """(H, W) of maps [..., H, W], static where known."""
    dynamic = tf.shape(maps)
    return tuple(maps.shape[i] if maps.shape[i] is not None else dynamic[i] for i in (-2, -1))
