# SPDX-License-Identifier: Apache-2.0
"""OSLSM (Shaban et al., BMVC 2017): a support predicts the weights of a logistic regression."""

import keras
import numpy as np
import tensorflow as tf

from sst_tf.model.layers import Conv2D, grid, masked_average, pool_weights, resize_aligned
from sst_tf.model.methods.base import Head


class OSLSM(Head):
    """Conditioning branch and segmentation branch.

    The conditioning branch turns a masked support into a short vector x, and weight hashing
    spreads that over weights and bias of a logistic regression on every pixel's features:
    theta_i = sign_i * x_(bucket_i), buckets and signs drawn once.

    Summary: weights and bias, D = C + 1.

    Simplified: both branches stand on the shared embedding (the paper has a VGG each): the
    conditioning branch masks features in place of pixels and has two 3x3 convolutions and an
    average over the object, the segmentation branch one 3x3 convolution.
    """

    paper = "One-Shot Learning for Semantic Segmentation (BMVC 2017)"

    def __init__(self, channels: int, balanced: bool = False, **kwargs):
        super().__init__(channels, channels + 1, balanced, **kwargs)
        self.condition_first = Conv2D(channels, 3, activation="relu", name="condition_1")
        self.condition_second = Conv2D(channels, 3, activation="relu", name="condition_2")
        self.segmentation = Conv2D(channels, 3, activation="relu", name="segmentation")
        # The paper hashes 1,000 numbers to 4,097. Small at first: even odds.
        buckets = max(1, (channels + 1) // 4)
        self.short = Conv2D(buckets, 1, name="short",
                            initializer=keras.initializers.RandomNormal(stddev=0.01))
        for layer in (self.condition_first, self.condition_second, self.segmentation, self.short):
            layer.build((None, None, None, channels))
        self.hashing = hashing_matrix(buckets, self.summary_size)

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Weights and bias of the class's logistic regression, [N, C + 1] (sections 4.1, 4.2)."""
        weights = pool_weights(mask, grid(features))  # [N, h, w, 1]
        maps = self.condition_second(self.condition_first(features * weights))
        short = self.short(masked_average(maps, weights)[:, None, None, :])
        return tf.matmul(tf.reshape(short, [-1, len(self.hashing)]), self.hashing)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """w . F + b at every place, whose sigmoid is the foreground's probability."""
        weights, bias = tf.split(summary, [self.channels, 1], axis=-1)
        products = self.segmentation(features) * weights[:, None, None, :]
        return resize_aligned(tf.reduce_sum(products, axis=-1) + bias[:, None], size)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Logical or of the shots' masks (section 4.4): the largest log-odds at every pixel."""
        return tf.reduce_max(self.each(features, summaries, size, training), axis=1)


def hashing_matrix(buckets: int, size: int, seed: int = 0) -> np.ndarray:
    """Weight hashing as a matrix [buckets, size]: each column has one entry, 1 or -1."""
    random = np.random.default_rng(seed)
    matrix = np.zeros((buckets, size), np.float32)
    matrix[random.integers(buckets, size=size), np.arange(size)] = random.choice([-1, 1], size)
    return matrix
