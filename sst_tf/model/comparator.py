# SPDX-License-Identifier: Apache-2.0
"""Comparator f_m (Eq. 6, 12, 13): features and prototype in, a response out."""

import tensorflow as tf
from keras import layers

from sst_tf.model.layers import Conv2D, unit_rms


class Comparator(layers.Layer):
    """Relation network f_m (Eq. 6, 13): R and the tiled R_s^r side by side, two 3x3 convolutions.

    Args:
        product: bring both to unit root mean square per pixel and put their product beside them.
            A concatenation alone has to learn what comparing is, and in minutes of training it
            learns to ignore the support instead (docs/results_small.md).

    Shapes: features [B, h, w, C], prototype [B, C] -> M [B, h, w, C].
    """

    def __init__(self, channels: int, product: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.product = product
        self.first = Conv2D(channels, 3, activation="relu", name="first")
        self.second = Conv2D(channels, 3, activation="relu", name="second")
        self.first.build((None, None, None, (3 if product else 2) * channels))
        self.second.build((None, None, None, channels))

    def call(self, features: tf.Tensor, prototype: tf.Tensor) -> tf.Tensor:
        """M of features [B, h, w, C] under one prototype [B, C] each (Eq. 6, 13)."""
        if self.product:
            features, prototype = unit_rms(features), unit_rms(prototype)
        tiled = tf.zeros_like(features) + prototype[:, None, None, :]  # [B, h, w, C]
        parts = [features, tiled] + ([features * tiled] if self.product else [])
        return self.second(self.first(tf.concat(parts, axis=-1)))
