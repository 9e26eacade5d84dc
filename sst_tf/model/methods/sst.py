# SPDX-License-Identifier: Apache-2.0
"""SST (Zhu et al., IJCAI 2020): comparator and decoder, a prototype as the summary."""

import tensorflow as tf

from sst_tf.model import fusion as fusing
from sst_tf.model.comparator import Comparator
from sst_tf.model.decoder import Decoder
from sst_tf.model.layers import count, foreground_average, split
from sst_tf.model.methods.base import Head, paired


class SST(Head):
    """f_m and f_d, the part that answers queries and supports alike.

    Args:
        channels: C, of features, prototypes and responses.
        dropout: before the decoder's last 3x3, in training only.
        product: of the comparator.
    """

    paper = "Self-Supervised Tuning for Few-Shot Segmentation (IJCAI 2020)"

    def __init__(self, channels: int, dropout: float = 0.0, product: bool = False, **kwargs):
        super().__init__(channels, **kwargs)
        self.comparator = Comparator(channels, product, name="comparator")
        self.decoder = Decoder(channels, dropout, name="decoder")

    @classmethod
    def from_settings(cls, model: dict, balanced: bool) -> "SST":
        """With the comparator that the settings name."""
        return cls(model["channels"], model["dropout"], model["comparator"] == "product",
                   name="head")

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The prototype R_s^r [N, C] (Eq. 12)."""
        return foreground_average(features, mask)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """S of photos, each under one prototype (Eq. 6, 7; of a support itself Eq. 8, 9)."""
        return self.decoder(self.comparator(features, summary), size=size, training=training)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """The K responses averaged by `fusion.shot_weights`, decoded once (Eq. 13, 14)."""
        responses = split(self.comparator(*paired(features, summaries)), count(summaries))
        return self.decoder(fusing.fuse_responses(responses, scores), size=size, training=training)
