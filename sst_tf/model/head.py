"""Comparator f_m (Eq. 6, 12, 13) and decoder f_d (Eq. 7): features and prototype in, logits out."""

import keras
import tensorflow as tf
from keras import layers

from sst_tf.model.layers import Conv2D


class Comparator(layers.Layer):
    """Relation network f_m: R and the tiled prototype R_s^r, concatenated, two 3x3 convolutions.

    Args:
        product: bring both to unit root mean square per pixel and put their product beside them.
            A concatenation alone has to learn what comparing is, and in minutes of training it
            learns to ignore the support instead (docs/results.md).

    Shapes: features [B, h, w, C], prototype [B, C] -> M [B, h, w, C].
    """

    def __init__(self, channels, product=False, **kwargs):
        super().__init__(**kwargs)
        self.product = product
        self.first = Conv2D(channels, 3, activation="relu", name="first")
        self.second = Conv2D(channels, 3, activation="relu", name="second")
        self.first.build((None, None, None, (3 if product else 2) * channels))
        self.second.build((None, None, None, channels))

    def call(self, features, prototype):
        if self.product:
            features, prototype = _unit(features), _unit(prototype)
        tiled = tf.zeros_like(features) + prototype[:, None, None, :]  # [B, h, w, C]
        parts = [features, tiled] + ([features * tiled] if self.product else [])
        return self.second(self.first(tf.concat(parts, axis=-1)))


def _unit(x):
    """Unit root mean square over channels; the constant keeps all-zero pixels harmless."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-3)


class Decoder(layers.Layer):
    """f_d: two residual blocks, ASPP, a 3x3 and a 1x1 to two logits at the features' grid.

    Shapes: M [B, h, w, C] -> [B, h, w, 2]; channel 0 background, 1 foreground.
    """

    RATES = (6, 12, 18)

    def __init__(self, channels, dropout=0.0, **kwargs):
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
        # Small at first, so that training starts from even odds and not from large losses.
        self.classify = Conv2D(2, 1, initializer=keras.initializers.RandomNormal(stddev=0.01),
                               name="classify")
        self.dropout = layers.Dropout(dropout)
        for convolution in [*self.residual_first, *self.residual_second, *self.branches,
                            self.pooled, self.refine, self.classify]:
            convolution.build((None, None, None, channels))
        self.project.build((None, None, None, channels * (len(self.branches) + 1)))

    def call(self, x, training=False):
        for first, second in zip(self.residual_first, self.residual_second, strict=True):
            x = tf.nn.relu(x + second(first(x)))
        context = self.pooled(tf.reduce_mean(x, axis=[1, 2], keepdims=True))  # [B, 1, 1, C]
        context = tf.zeros_like(x) + context  # [B, h, w, C]
        x = self.project(tf.concat([branch(x) for branch in self.branches] + [context], axis=-1))
        x = self.dropout(x, training=training)
        return self.classify(self.refine(x))


class Head(layers.Layer):
    """f_m and f_d, the weights that training learns beside the embedding."""

    def __init__(self, channels, dropout=0.0, product=False, **kwargs):
        super().__init__(**kwargs)
        self.comparator = Comparator(channels, product, name="comparator")
        self.decoder = Decoder(channels, dropout, name="decoder")

    def compare(self, features, prototype):
        """M: [B, h, w, C] and [B, C] -> [B, h, w, C]."""
        return self.comparator(features, prototype)

    def decode(self, response, training=False):
        """Foreground log-odds at the features' grid, [B, h, w, C] -> [B, h, w].

        The difference of the two logits of S is all that a two-class softmax knows. Written as
        a product with (-1, 1) its gradient is a product again, not a slice's.
        """
        logits = self.decoder(response, training=training)  # [B, h, w, 2]
        signs = tf.constant([[-1.0], [1.0]], logits.dtype)
        return tf.squeeze(tf.matmul(logits, signs), -1)

    def call(self, features, prototype, training=False):
        return self.decode(self.compare(features, prototype), training)
