# SPDX-License-Identifier: Apache-2.0
"""PANet (Wang et al., ICCV 2019): nearest of two prototypes by cosine, aligned both ways."""

import tensorflow as tf

from sst_tf.model import losses
from sst_tf.model.layers import (
    background,
    cosine,
    foreground_average,
    grid,
    merge,
    resize_aligned,
    split,
)
from sst_tf.model.methods.base import Head

SCALE = 20.0  # alpha of Eq. 3


class PANet(Head):
    """Non-parametric: all that is trained is the embedding, and that has both signs.

    Summary: foreground and background prototype, D = 2 C.

    Simplified: one class an episode. Masks are averaged onto the features' grid, where the paper
    enlarges features to the masks. The lengths in a cosine have a small constant (`layers.cosine`).
    """

    paper = "PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment (ICCV 2019)"
    signed = True

    def __init__(self, channels: int, balanced: bool = False, **kwargs):
        super().__init__(channels, 2 * channels, balanced, **kwargs)

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Masked averages over foreground and background (Eq. 1, 2), [N, 2 C]."""
        return tf.concat([foreground_average(features, one) for one in (mask, background(mask))],
                         axis=-1)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """Log-odds of the softmax over scaled cosines to both prototypes (Eq. 3)."""
        foreground, behind = tf.split(summary, 2, axis=-1)
        logit = SCALE * (cosine(features, foreground) - cosine(features, behind))
        return resize_aligned(logit, size)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Under prototypes averaged over the shots (Eq. 1, 2)."""
        return self.segment(features, tf.reduce_mean(summaries, axis=1), size, training)

    def own_loss(self, support: tf.Tensor, mask: tf.Tensor, query: tf.Tensor,
                 query_mask: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
        """Prototype alignment regularisation (Eq. 6, 7), its weight 1.

        The query under its predicted mask is the support of the supports. Where nothing is
        predicted, or the query does not show the class, there is nothing to align.
        """
        predicted = tf.cast(logit > 0, tf.uint8)  # [B, H, W]
        summary = tf.repeat(self.summarise(query, predicted), mask.shape[1], axis=0)
        back = self.segment(merge(support), summary, grid(merge(mask)))  # [B K, H, W]
        loss = losses.cross_entropy(back, merge(mask), self.balanced)
        there = (tf.reduce_any(logit > 0, axis=[1, 2])
                 & tf.reduce_any(tf.equal(query_mask, 1), axis=[1, 2]))
        return tf.cast(there, tf.float32) * tf.reduce_mean(split(loss, mask.shape[1]), axis=1)
