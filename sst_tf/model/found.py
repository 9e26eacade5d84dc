# SPDX-License-Identifier: Apache-2.0
"""What was found in a photo, and a second look at the photo under it.

Objects of one class differ less within a photo than between two, so what an answer found says more
of the class in this photo than the support alone: the idea of self-support matching (Fan et al.,
Self-Support Few-Shot Semantic Segmentation, ECCV 2022). Here it acts on answers alone; training
knows nothing of it.
"""

import tensorflow as tf

from sst_tf.model.methods import Head

TOP = 0.05  # share of a photo's pixels that tells whether a class is there at all


def found_mask(probability: tf.Tensor) -> tf.Tensor:
    """What was found: foreground at 0.5, but at least the highest 5 % of pixels, uint8 [B, H, W].

    Args:
        probability: answers [B, H, W].
    """
    flat = tf.reshape(probability, [tf.shape(probability)[0], -1])
    count = tf.cast(tf.math.ceil(TOP * tf.cast(tf.shape(flat)[1], tf.float32)), tf.int32)
    lowest = tf.minimum(tf.math.top_k(flat, count)[0][:, -1], 0.5)
    return tf.cast(probability >= lowest[:, None, None], tf.uint8)


def found_summary(head: Head, features: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """What was found (`found_mask`) summarised as a support is, [B, 1, D].

    Args:
        features: R_q [B, h, w, C].
        probability: answers [B, H, W].
    """
    return head.summarise(features, found_mask(probability))[:, None]


def look(head: Head, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
         fusion: str = "weighted", again: float = 0.0) -> tf.Tensor:
    """Photos, each under K summaries, and where `again` is not 0 under what was found, too.

    Args:
        features, summaries, scores, size, fusion: as of `Head.segment_shots`.
        again: share of what the first look found in the summaries of the second, 0..1; 0 looks
            once.
    Returns:
        Foreground log-odds [B, H, W].
    """
    logit = head.segment_shots(features, summaries, scores, size, fusion)
    if not again:
        return logit
    found = found_summary(head, features, tf.sigmoid(logit))
    return head.segment_shots(features, mixed(summaries, found, again), scores, size, fusion)


def mixed(summaries: tf.Tensor, found: tf.Tensor, share: float) -> tf.Tensor:
    """Summaries [B, K, D] with a share of another [B, 1, D], brought to the length of each."""
    length = tf.norm(summaries, axis=-1, keepdims=True)
    return (1 - share) * summaries + share * length * tf.math.l2_normalize(found, -1)
