# SPDX-License-Identifier: Apache-2.0
"""SG-One (Zhang et al., TCYB 2020): a map of cosines guides a segmentation branch."""

import tensorflow as tf

from sst_tf.model.decoder import LogOdds
from sst_tf.model.layers import Conv2D, cosine, foreground_average, resize_aligned
from sst_tf.model.methods.base import Head


class SGOne(Head):
    """Two branches on the same features, one that compares and one that segments.

    Summary: masked average of the guidance branch's features, D = C.

    Simplified: each branch is one 3x3 convolution behind the shared embedding, where the paper has
    three of 128 channels; its joints between the branches are left out. Masks are averaged onto
    the features' grid, where the paper enlarges features to the masks.
    """

    paper = "SG-One: Similarity Guidance Network for One-Shot Semantic Segmentation (TCYB 2020)"

    def __init__(self, channels: int, balanced: bool = False, **kwargs):
        super().__init__(channels, balanced=balanced, **kwargs)
        self.guidance = Conv2D(channels, 3, activation="relu", name="guidance")
        self.segmentation = Conv2D(channels, 3, activation="relu", name="segmentation")
        self.fused = Conv2D(channels, 3, activation="relu", name="fused")
        self.classify = LogOdds(name="classify")
        for layer in (self.guidance, self.segmentation, self.fused, self.classify):
            layer.build((None, None, None, channels))

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The representative vector: masked average pooling (Eq. 1), [N, C]."""
        return foreground_average(self.guidance(features), mask)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """The segmentation branch times the similarity guidance map (Eq. 2), then convolutions."""
        similarity = cosine(self.guidance(features), summary)  # [B, h, w]
        guided = self.segmentation(features) * similarity[..., None]
        return resize_aligned(self.classify(self.fused(guided))[..., 0], size)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Under the vectors' average, as the paper does for five shots."""
        return self.segment(features, tf.reduce_mean(summaries, axis=1), size, training)
