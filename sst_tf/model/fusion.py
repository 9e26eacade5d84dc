# SPDX-License-Identifier: Apache-2.0
"""k shots into one: Eq. 14, and the two forms of fusion that table 2 compares it with."""

import tensorflow as tf

FUSIONS = ("weighted", "average", "maximum")


def shot_weights(scores: tf.Tensor) -> tf.Tensor:
    """Self-segmentation IoUs [B, K] to the weights of Eq. 14, which sum to one; all zeros to 1 / K.

    The paper's sum is not normalised; without that the decoder would see maps K times as large
    as those it was trained on.
    """
    total = tf.reduce_sum(scores, axis=1, keepdims=True)
    equal = tf.ones_like(scores) / tf.cast(tf.shape(scores)[1], scores.dtype)
    return tf.where(total > 0, tf.math.divide_no_nan(scores, total), equal)


def fuse_responses(responses: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The comparator's maps M_i, averaged by their supports' scores (Eq. 14).

    Args:
        responses: [B, K, h, w, C].
        scores: [B, K].
    Returns:
        M [B, h, w, C].
    """
    return tf.reduce_sum(responses * shot_weights(scores)[:, :, None, None, None], axis=1)


def fuse_answers(logits: tf.Tensor, fusion: str) -> tf.Tensor:
    """K decoded answers as one, by their foreground probabilities (table 2).

    Args:
        logits: foreground log-odds [B, K, H, W].
        fusion: "average" or "maximum".
    Returns:
        Foreground log-odds [B, H, W].
    """
    if fusion == "maximum":
        return tf.reduce_max(logits, axis=1)  # the sigmoid is monotonic
    return _log_odds(tf.reduce_mean(tf.sigmoid(logits), axis=1))


def average_answers(logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """K decoded answers as one: log-odds [B, K, H, W] and weights [B, K], which sum to one.

    Returns:
        Log-odds [B, H, W] of the weighted mean of the foreground probabilities.
    """
    return _log_odds(tf.reduce_sum(tf.sigmoid(logits) * weights[:, :, None, None], axis=1))


def _log_odds(probability):
    probability = tf.clip_by_value(probability, 1e-7, 1 - 1e-7)
    return tf.math.log(probability) - tf.math.log1p(-probability)
