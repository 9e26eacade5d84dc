# SPDX-License-Identifier: Apache-2.0
"""Decoder f_d (Eq. 7, 9): a response in, foreground log-odds at the photo's size out."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sst_tf.model.layers import Conv2D, resize_aligned
from sst_tf.model.random import Dropout


class LogOdds(Conv2D):
    """A 1x1 convolution to one channel, the foreground log-odds.

    With two classes, softmax and cross-entropy know only the difference of the two logits: two
    channels would be one that is trained twice. Files that hold two are read as their difference.
    """

    def __init__(self, **kwargs):
        # Small at first, so that training starts from even odds and not from large losses.
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        super().__init__(**{"filters": 1, "kernel_size": 1, "initializer": initializer, **kwargs})

    def load_own_variables(self, store) -> None:
        """Kernel and bias; two channels as their difference."""
        for number, variable in enumerate((self.kernel, self.bias)):
            values = np.asarray(store[str(number)])
            variable.assign(values[..., 1:] - values[..., :1] if values.shape[-1] == 2 else values)


class Decoder(layers.Layer):
    """f_d: two residual blocks, ASPP, a 3x3, a 1x1 to log-odds, and the upsampling of Eq. 7.

    The only place where the features' grid becomes the photo's: bilinear, corners aligned.

    Shapes: M [B, h, w, C] and (H, W) -> S [B, H, W] foreground log-odds.
    """

    RATES = (6, 12, 18)

    def __init__(self, channels: int, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.residual_first = [Conv2D(channels, 3, activation="relu", name=f"residual{i}_1")
                               for i in (1, 2)]
        self.residual_second = [Conv2D(channels, 3, name=f"residual{i}_2") for i in (1, 2)]
        self.branches = [Conv2D(channels, 1, activation="relu", name="aspp_1")]
        self.branches += [Conv2D(channels, 3, dilation=rate, activation="relu",
                                 name=f"aspp_{rate}") for rate in self.RATES]
        self.pooled = Conv2D(channels, 1, activation="relu", name="aspp_pool")
        self.project = Conv2D(channels, 1, activation="relu", name="aspp_project")
        self.refine = Conv2D(channels, 3, activation="relu", name="refine")
        self.classify = LogOdds(name="classify")
        self.dropout = Dropout(dropout)
        for convolution in [*self.residual_first, *self.residual_second, *self.branches,
                            self.pooled, self.refine, self.classify]:
            convolution.build((None, None, None, channels))
        self.project.build((None, None, None, channels * (len(self.branches) + 1)))

    def call(self, x: tf.Tensor, size, training: bool = False) -> tf.Tensor:
        """S [B, H, W] of a response M [B, h, w, C] at (H, W) (Eq. 7)."""
        for first, second in zip(self.residual_first, self.residual_second, strict=True):
            x = tf.nn.relu(x + second(first(x)))
        context = self.pooled(tf.reduce_mean(x, axis=[1, 2], keepdims=True))  # [B, 1, 1, C]
        context = tf.zeros_like(x) + context  # [B, h, w, C]
        x = self.project(tf.concat([branch(x) for branch in self.branches] + [context], axis=-1))
        x = self.dropout(x, training=training)
        return resize_aligned(self.classify(self.refine(x))[..., 0], size)
