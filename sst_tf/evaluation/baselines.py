# SPDX-License-Identifier: Apache-2.0
"""What needs no training: the cosine prototype on raw backbone features, and all foreground."""

import tensorflow as tf

from sst_tf.model.layers import masked_average, pool_weights, resize_aligned


@tf.function(reduce_retracing=True, autograph=False)
def prototypes(features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Foreground and background prototypes: [N, h, w, C_b], [N, H, W] -> [N, 2, C_b].

    Masked averages of L2-normalised features, background first.
    """
    features = tf.math.l2_normalize(features, axis=-1)
    size = (tf.shape(features)[1], tf.shape(features)[2])
    background = tf.where(mask == 0, tf.ones_like(mask), tf.zeros_like(mask))
    return tf.stack([masked_average(features, pool_weights(m, size))
                     for m in (background, mask)], axis=1)


@tf.function(reduce_retracing=True, autograph=False)
def segment(features: tf.Tensor, prototypes: tf.Tensor, size: tuple) -> tf.Tensor:
    """1 where the foreground prototype is nearer by cosine, else 0.

    Args:
        features: query [B, h, w, C_b]; prototypes: [B, K, 2, C_b], averaged over shots.
    Returns:
        [B, H, W] float32.
    """
    features = tf.math.l2_normalize(features, axis=-1)
    prototypes = tf.math.l2_normalize(tf.reduce_mean(prototypes, axis=1), axis=-1)  # [B, 2, C]
    cosine = tf.einsum("bhwc,bpc->bphw", features, prototypes)
    return tf.cast(resize_aligned(cosine[:, 1] - cosine[:, 0], size) > 0, tf.float32)
