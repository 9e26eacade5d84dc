# SPDX-License-Identifier: Apache-2.0
"""Comparator and decoder together: features and prototypes in, answers at the photo's size out."""

import tensorflow as tf
from keras import layers

from sst_tf.model import fusion as fusing
from sst_tf.model.comparator import Comparator
from sst_tf.model.decoder import Decoder


class Head(layers.Layer):
    """f_m and f_d, the part that answers queries and supports alike.

    Args:
        channels: C, of features, prototypes and responses.
        dropout: before the decoder's last 3x3, in training only.
        product: of the comparator.
    """

    def __init__(self, channels: int, dropout: float = 0.0, product: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.comparator = Comparator(channels, product, name="comparator")
        self.decoder = Decoder(channels, dropout, name="decoder")

    def segment(self, features: tf.Tensor, prototype: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """S of photos, each under one prototype (Eq. 6, 7; of a support itself Eq. 8, 9).

        Args:
            features: [B, h, w, C].
            prototype: [B, C].
            size: (H, W) of the answer.
        Returns:
            Foreground log-odds [B, H, W].
        """
        return self.decoder(self.comparator(features, prototype), size=size, training=training)

    def segment_shots(self, features: tf.Tensor, prototypes: tf.Tensor, scores: tf.Tensor, size,
                      fusion: str = "weighted", training: bool = False) -> tf.Tensor:
        """S of photos, each under K prototypes (Eq. 13, 14).

        Args:
            features: [B, h, w, C].
            prototypes: [B, K, C], K static.
            scores: IoU of each support's self-segmentation before the step, [B, K].
            size: (H, W) of the answer.
            fusion: "weighted" averages the K responses by `fusion.shot_weights` and decodes once
                (Eq. 14); "average" and "maximum" act on the K probabilities (table 2).
        Returns:
            Foreground log-odds [B, H, W].
        """
        shots = prototypes.shape[1]
        if shots == 1:
            return self.segment(features, prototypes[:, 0], size, training)
        repeated = tf.repeat(features, shots, axis=0)  # [B K, h, w, C]
        responses = self.comparator(repeated, tf.reshape(prototypes, [-1, prototypes.shape[-1]]))
        if fusion == "weighted":
            fused = fusing.fuse_responses(_split(responses, shots), scores)
            return self.decoder(fused, size=size, training=training)
        logits = _split(self.decoder(responses, size=size, training=training), shots)
        return fusing.fuse_answers(logits, fusion)


def _split(x, shots):
    """[B K, ...] -> [B, K, ...]."""
    split = tf.reshape(x, tf.concat([[-1, shots], tf.shape(x)[1:]], 0))
    return tf.ensure_shape(split, [None, shots, *x.shape[1:]])
