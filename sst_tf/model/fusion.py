"""k shots into one answer: Eq. 14 and the two rules that table 2 compares it with."""

import tensorflow as tf

from sst_tf.model.layers import resize_aligned

RULES = ("weighted", "average", "maximum")


def shot_weights(scores):
    """Self-segmentation IoUs [B, K] to weights that sum to one; all-zero scores to 1 / K.

    The paper's sum is not normalised; without that the decoder would see maps K times as large
    as those it was trained on.
    """
    total = tf.reduce_sum(scores, axis=1, keepdims=True)
    equal = tf.ones_like(scores) / tf.cast(tf.shape(scores)[1], scores.dtype)
    return tf.where(total > 0, tf.math.divide_no_nan(scores, total), equal)


def fuse(responses, scores, head, size, rule="weighted", training=False):
    """Decode the comparator's answers to K supports into one foreground log-odds map.

    Args:
        responses: M_i [B, K, h, w, C].
        scores: IoU of each support's self-segmentation before tuning [B, K].
        head: `sst_tf.model.head.Head`.
        size: (H, W) of the answer.
        rule: "weighted" averages the maps M_i by `shot_weights` and decodes once (Eq. 14);
            "average" and "maximum" act on the K foreground probabilities (table 2).
    Returns:
        [B, H, W] log-odds.
    """
    if responses.shape[1] == 1:
        return resize_aligned(head.decode(responses[:, 0], training), size)
    if rule == "weighted":
        weights = shot_weights(scores)[:, :, None, None, None]
        return resize_aligned(head.decode(tf.reduce_sum(responses * weights, 1), training), size)
    shape = tf.shape(responses)
    flat = tf.reshape(responses, tf.concat([[-1], shape[2:]], 0))  # [B K, h, w, C]
    logit = resize_aligned(head.decode(flat, training), size)  # [B K, H, W]
    logit = tf.reshape(logit, tf.concat([shape[:2], tf.shape(logit)[1:]], 0))  # [B, K, H, W]
    if rule == "maximum":
        return tf.reduce_max(logit, axis=1)  # the sigmoid is monotonic
    probability = tf.clip_by_value(tf.reduce_mean(tf.sigmoid(logit), axis=1), 1e-7, 1 - 1e-7)
    return tf.math.log(probability) - tf.math.log1p(-probability)
