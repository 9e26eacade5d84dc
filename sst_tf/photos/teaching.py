# SPDX-License-Identifier: Apache-2.0
"""What the marked photos of a class say about each other, in numbers and in plain sentences."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sst_tf.model import losses
from sst_tf.model.inference import Inference, TunedSupport
from sst_tf.model.layers import grid
from sst_tf.photos.class_card import ClassCard

DISAGREES = 0.74  # mean cosine to the others below which a photo does; docs/predict.md measures it
HARDLY = 0.3  # IoU below which a class is hardly found again in its own photos


def found_by_others(inference: Inference, features: Sequence[tf.Tensor],
                    masks: Sequence[tf.Tensor], tuned: Sequence[TunedSupport], threshold: float,
                    fusion: str, second_look: float) -> np.ndarray:
    """IoU with which the other marked photos find each one's mark, [K]; NaN for a single photo.

    Args:
        features: R_s [1, h, w, C] of each photo.
        masks: [1, S, S] of 0, 1, 255.
        tuned: of each, `Inference.tune`.
        threshold: probability from which a pixel is foreground.
        fusion, second_look: as of `Inference.segment`.
    """
    found = np.full(len(tuned), np.nan, np.float32)
    if len(tuned) == 1:
        return found
    for i, (one, mask) in enumerate(zip(features, masks, strict=True)):
        others = [other for j, other in enumerate(tuned) if j != i]
        probability = inference.segment(
            one, tf.stack([other.prototype[0] for other in others])[None],
            tf.stack([other.score[0] for other in others])[None], tuple(mask.shape[1:]), fusion,
            second_look)
        found[i] = losses.hard_iou(probability - threshold, mask)[0]
    return found


def likeness(prototypes: np.ndarray) -> np.ndarray:
    """Mean cosine of each photo's prototype with the others', [K]; NaN for a single photo.

    Args:
        prototypes: of K photos [K, D].
    """
    if len(prototypes) == 1:
        return np.full(1, np.nan, np.float32)
    unit = prototypes / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-9)
    return np.array([one @ np.delete(unit, i, 0).mean(0) for i, one in enumerate(unit)], np.float32)


def cells_of(mask: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Area of a mark [1, S, S] in cells of the features [1, h, w, C], a number."""
    h, w = grid(features)
    return tf.reduce_mean(tf.cast(mask == 1, tf.float32)) * tf.cast(h * w, tf.float32)


def advice(names: Sequence[str], card: ClassCard) -> list[str]:
    """Sentences on the photos whose marks may be wrong or too small; [] where all is well.

    Args:
        names: what to call the photos, K of them.
        card: what tuning left of them.
    """
    cells, score_after, others = card.cells, card.score_after, card.others
    found = []
    for i, name in enumerate(names):
        if cells[i] < 1:
            found.append(f"{name}: the mark is smaller than a cell of the features; crop closer")
        elif score_after[i] < HARDLY:
            found.append(f"{name}: the model hardly finds the mark in its own photo (IoU "
                         f"{score_after[i]:.2f}); mark all of the object, or crop closer")
    if len(names) == 2 and max(others) < HARDLY:
        found.append(f"{names[0]} and {names[1]} do not find each other's marks (IoU "
                     f"{others[1]:.2f} and {others[0]:.2f}); do both show the same class?")
    alike = likeness(card.prototype)
    worst = int(np.argmin(alike))
    if len(names) > 2 and alike[worst] < DISAGREES:
        found.append(f"{names[worst]} disagrees: the other photos find its mark with IoU "
                     f"{others[worst]:.2f}, and each other's with "
                     f"{np.delete(others, worst).mean():.2f}; look at its mark")
    return found
