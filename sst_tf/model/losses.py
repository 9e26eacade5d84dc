# SPDX-License-Identifier: Apache-2.0
"""Two-class cross-entropies per episode, and the IoU of hard masks, on log-odds maps."""

import tensorflow as tf

IGNORE = 255


def pixel_weights(mask: tf.Tensor, balanced: bool) -> tf.Tensor:
    """What each pixel weighs in the loss of its own episode, [B, H, W] float32.

    Args:
        mask: [B, H, W]; 0 background, 1 foreground, 255 weighs nothing.
        balanced: foreground and background weigh one half each, whatever their areas; a map
            that has only one of them gives it all the weight.
    Returns:
        Weights that sum to 1 over each map with a counting pixel, to 0 over one without.
    """
    foreground = tf.cast(tf.equal(mask, 1), tf.float32)
    counted = tf.cast(tf.not_equal(mask, IGNORE), tf.float32)
    if not balanced:
        return tf.math.divide_no_nan(counted, _area(counted))
    background = counted - foreground
    halves = (tf.math.divide_no_nan(foreground, _area(foreground))
              + tf.math.divide_no_nan(background, _area(background)))
    return tf.math.divide_no_nan(halves, _area(halves))


def cross_entropy(logit: tf.Tensor, mask: tf.Tensor, balanced: bool = False) -> tf.Tensor:
    """Cross-entropy of one foreground log-odds map per episode (Eq. 10).

    With two classes it depends on the logit difference d alone: softplus(d) - y d.

    Args:
        logit: [B, H, W] foreground log-odds, any float dtype; computed in float32.
        mask: [B, H, W] 0, 1 or 255.
        balanced: see `pixel_weights`.
    Returns:
        [B] float32, the (weighted) mean over each episode's counting pixels. Never averaged over
        the batch: that would make one episode's inner step depend on its neighbours.
    """
    logit = tf.cast(logit, tf.float32)
    target = tf.cast(tf.equal(mask, 1), tf.float32)
    loss = tf.math.softplus(logit) - target * logit
    return tf.reduce_sum(loss * pixel_weights(mask, balanced), axis=[1, 2])


def counted_pixels(mask: tf.Tensor) -> tf.Tensor:
    """Pixels per map that are not 255, [B, H, W] -> [B] float32."""
    return tf.reduce_sum(tf.cast(tf.not_equal(mask, IGNORE), tf.float32), axis=[1, 2])


def hard_iou(logit: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """IoU of `logit > 0` with the mask, [B, H, W] twice -> [B] float32; 255 does not count."""
    predicted = tf.logical_and(logit > 0, tf.not_equal(mask, IGNORE))
    true = tf.equal(mask, 1)
    intersection = tf.reduce_sum(tf.cast(predicted & true, tf.float32), axis=[1, 2])
    union = tf.reduce_sum(tf.cast(predicted | true, tf.float32), axis=[1, 2])
    return tf.math.divide_no_nan(intersection, union)


def _area(weights):
    return tf.reduce_sum(weights, axis=[1, 2], keepdims=True)
