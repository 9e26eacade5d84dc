# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this folder compare: two ways to answer the same episodes."""

import numpy as np

from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.metrics import pooled_iou

RESAMPLES = 2000


def counted(answer, truth):
    """(intersection, union) in pixels of an answer bool [H, W] with a mask of 0, 1 and 255."""
    return (answer & (truth == 1)).sum(), ((answer & (truth != 255)) | (truth == 1)).sum()


def miou(counts, class_ids, weights=None):
    """`metrics.pooled_iou` of one `counted` pair an episode."""
    return pooled_iou(*np.array(counts).T, np.array(class_ids), weights)


def gain(after, before, class_ids, photos):
    """(mIoU after minus before, lower and upper bound of its 95 % interval over photos).

    Args:
        photos: of each episode, as `bootstrap.photo_weights` takes them.
    """
    weights = bootstrap.photo_weights(photos, RESAMPLES)
    spread = miou(after, class_ids, weights) - miou(before, class_ids, weights)
    return (float(miou(after, class_ids) - miou(before, class_ids)), *bootstrap.interval(spread))
