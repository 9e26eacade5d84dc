# SPDX-License-Identifier: Apache-2.0
"""CANet (Zhang et al., CVPR 2019): dense comparison, refined round by round, shots by attention."""

import keras
import tensorflow as tf

from sst_tf.model.decoder import Decoder
from sst_tf.model.layers import Conv2D, count, foreground_average, grid, resize_aligned, split
from sst_tf.model.methods.base import Head, paired
from sst_tf.model.random import uniform

EMPTY = 0.7  # share of training episodes without a history


class CANet(Head):
    """Dense comparison module, iterative optimisation module, attention over shots.

    Summary: masked average of the features, D = C.

    Simplified: in training the history of an episode is its own answer of the moment, where the
    paper stores that of the last epoch by photo; two classes have one history map, the
    foreground's probability. The module's last two residual blocks and its ASPP are `Decoder`,
    which has a 3x3 convolution more and the dropout of the configuration.

    Args:
        rounds: refinements of an answer after the first, outside training.
    """

    paper = "CANet: Class-Agnostic Segmentation Networks (CVPR 2019)"

    def __init__(self, channels: int, dropout: float = 0.0, rounds: int = 4,
                 balanced: bool = False, **kwargs):
        super().__init__(channels, balanced=balanced, **kwargs)
        self.rounds = rounds
        self.compare = Conv2D(channels, 3, activation="relu", name="compare")
        self.compare.build((None, None, None, 2 * channels))
        self.history_first = Conv2D(channels, 3, activation="relu", name="history_1")
        self.history_first.build((None, None, None, channels + 1))
        self.history_second = Conv2D(channels, 3, name="history_2")
        self.history_second.build((None, None, None, channels))
        self.decoder = Decoder(channels, dropout, name="decoder")
        narrow = max(1, channels // 4)
        self.attention_first = Conv2D(narrow, 3, activation="relu", name="attention_1")
        self.attention_first.build((None, None, None, 2 * channels))
        # From zero: trained with one shot it never moves, and shots then weigh alike.
        self.attention_second = Conv2D(1, 3, initializer="zeros", name="attention_2")
        self.attention_second.build((None, None, None, narrow))
        self.random = keras.random.SeedGenerator()

    @classmethod
    def from_settings(cls, model: dict, balanced: bool) -> "CANet":
        """With the decoder's dropout."""
        return cls(model["channels"], model["dropout"], balanced=balanced, name="head")

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Global average pooling over the foreground, [N, C]."""
        return foreground_average(features, mask)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """Dense comparison, then rounds of refinement (Eq. 1)."""
        return self._refined(self._compared(features, summary[:, None], training), size, training)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Comparisons averaged by attention (Eq. 2, 3), then rounds of refinement."""
        return self._refined(self._compared(features, summaries, training), size, training)

    def self_segment(self, query_role: tf.Tensor, support_role: tf.Tensor, mask: tf.Tensor
                     ) -> tf.Tensor:
        """S_sup of the first round (Eq. 8, 9)."""
        summary = self.summarise(support_role, mask)
        compared = self._compared(query_role, summary[:, None], training=False)
        return resize_aligned(self._round(compared, _empty(compared)), grid(mask))

    def _compared(self, features, summaries, training):
        """Features beside the tiled summary of each shot, one response of them all [B, h, w, C]."""
        shots = count(summaries)
        photos, each = paired(features, summaries)
        beside = tf.concat([photos, tf.zeros_like(photos) + each[:, None, None, :]], axis=-1)
        responses = self.compare(beside)  # [B K, h, w, C]
        if summaries.shape[1] == 1 and not training:
            return responses
        maps = tf.nn.max_pool2d(self.attention_first(beside), 3, 1, "SAME")
        level = tf.reduce_mean(self.attention_second(maps), axis=[1, 2])  # [B K, 1]
        weights = tf.nn.softmax(tf.reshape(level, [-1, shots]), axis=-1)  # [B, K]
        return tf.reduce_sum(split(responses, shots) * weights[:, :, None, None, None], axis=1)

    def _round(self, compared, history, training=False):
        """Log-odds [B, h, w] from a comparison [B, h, w, C] and a history [B, h, w, 1]."""
        correction = self.history_second(self.history_first(
            tf.concat([compared, history], axis=-1)))
        return self.decoder(tf.nn.relu(compared + correction), size=grid(compared),
                            training=training)

    def _refined(self, compared, size, training):
        logit = self._round(compared, _empty(compared))
        if training:
            drawn = uniform((tf.shape(compared)[0],), self.random)
            kept = tf.cast(drawn >= EMPTY, logit.dtype)[:, None, None]
            history = tf.stop_gradient(tf.sigmoid(logit) * kept)
            logit = self._round(compared, history[..., None], training)
        else:
            for _ in range(self.rounds):
                logit = self._round(compared, tf.sigmoid(logit)[..., None])
        return resize_aligned(logit, size)


def _empty(compared):
    return tf.zeros_like(compared[..., :1])
