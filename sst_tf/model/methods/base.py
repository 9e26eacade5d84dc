# SPDX-License-Identifier: Apache-2.0
"""What a few-shot method is: it summarises marked photos and segments others under summaries."""

import tensorflow as tf
from keras import layers

from sst_tf.model import fusion as fusing
from sst_tf.model.layers import count, grid, split


class Head(layers.Layer):
    """A method, between the encoder's features and answers at the photo's size.

    A method of one's own is a file beside this one with `summarise` and `segment`, and a line in
    `methods.METHODS`: training, tuner, evaluation, predictor and export take it from there. The
    tuner differentiates `self_segment` by the features, training all of it by all variables.

    Args:
        channels: C, of the features.
        summary_size: D, numbers in a support's summary; C where it is not given.
        balanced: of the losses that a method takes itself, see `losses.cross_entropy`.

    Attributes:
        paper: title and place, for model cards.
        signed: whether features shall have both signs (an embedding without its ReLU).
    """

    paper = "not published"
    signed = False

    def __init__(self, channels: int, summary_size: int | None = None, balanced: bool = False,
                 **kwargs):
        super().__init__(**kwargs)
        self.channels, self.balanced = channels, balanced
        self.summary_size = channels if summary_size is None else summary_size

    @classmethod
    def from_settings(cls, model: dict, balanced: bool) -> "Head":
        """Of the settings of a model, see `methods.head_of`."""
        return cls(model["channels"], balanced=balanced, name="head")

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What is kept of N supports, each on its own.

        Args:
            features: [N, h, w, C].
            mask: [N, H, W] of 0, 1, 255.
            training: leave out what a method does in answers alone.
        Returns:
            [N, D] float32.
        """
        raise NotImplementedError

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """Photos, each under one summary.

        Args:
            features: [B, h, w, C].
            summary: [B, D].
            size: (H, W) of the answer.
        Returns:
            Foreground log-odds [B, H, W].
        """
        raise NotImplementedError

    def self_segment(self, query_role: tf.Tensor, support_role: tf.Tensor, mask: tf.Tensor
                     ) -> tf.Tensor:
        """S_sup (Eq. 8, 9): supports segmented under their own masks.

        Args:
            query_role, support_role: R_s [N, h, w, C], where it is segmented and where it is
                summarised.
            mask: T_S [N, H, W].
        Returns:
            Foreground log-odds [N, H, W]. Dropout is off.
        """
        summary = self.summarise(support_role, mask, training=True)
        return self.segment(query_role, summary, grid(mask))

    def segment_shots(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                      fusion: str = "weighted", training: bool = False) -> tf.Tensor:
        """Photos, each under K summaries.

        Args:
            features: [B, h, w, C].
            summaries: [B, K, D].
            scores: IoU of each support's self-segmentation before the step, [B, K].
            size: (H, W) of the answer.
            fusion: "weighted" is the method's own (`segment_together`); "average" and "maximum"
                act on the K probabilities (table 2).
        Returns:
            Foreground log-odds [B, H, W].
        """
        if summaries.shape[1] == 1:
            return self.segment(features, summaries[:, 0], size, training)
        if fusion == "weighted":
            return self.segment_together(features, summaries, scores, size, training)
        return fusing.fuse_answers(self.each(features, summaries, size, training), fusion)

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Fusion of K > 1 shots, arguments as in `segment_shots`.

        Where a method says nothing of its own: answers averaged by their supports' scores.
        """
        logits = self.each(features, summaries, size, training)
        return fusing.average_answers(logits, fusing.shot_weights(scores))

    def each(self, features: tf.Tensor, summaries: tf.Tensor, size, training: bool = False
             ) -> tf.Tensor:
        """Photos under each of K summaries alone: log-odds [B, K, H, W]."""
        return split(self.segment(*paired(features, summaries), size, training),
                     count(summaries))

    def own_loss(self, support: tf.Tensor, mask: tf.Tensor, query: tf.Tensor,
                 query_mask: tf.Tensor, logit: tf.Tensor) -> tf.Tensor | None:
        """What a method's training minimises beside cross-entropies; None where nothing.

        Args:
            support: features [B, K, h, w, C].
            mask: [B, K, H, W].
            query: features [B, h, w, C].
            query_mask: [B, H, W].
            logit: the answer to the query [B, H, W].
        Returns:
            [B], one value an episode, added to the main loss.
        """
        return None


def paired(features: tf.Tensor, summaries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each photo beside each of its K summaries: [B K, h, w, C], [B K, D]."""
    return (tf.repeat(features, count(summaries), axis=0),
            tf.reshape(summaries, [-1, summaries.shape[-1]]))
