# SPDX-License-Identifier: Apache-2.0
"""A photo as overlapping crops at several times the network's scale, and their answers as one map.

What is small in a photo of many times the network's size is a few pixels of what the network sees;
in a crop it is larger. Neighbouring crops overlap by half, and an answer weighs less towards the
edge of its crop, where the network sees less of the surroundings.
"""

import numpy as np
import tensorflow as tf

from pipelines.reading.transforms import resize_image


def corners(side: int, times: int) -> list[tuple[int, int]]:
    """(row, column) of the crops [side, side] in a frame of `times * side` pixels."""
    steps = np.linspace(0, (times - 1) * side, 2 * times - 1).round().astype(int)
    return [(int(row), int(column)) for row in steps for column in steps]


def cut(image: np.ndarray, side: int, times: int, resize: str) -> tf.Tensor:
    """uint8 [H, W, 3] -> crops [(2 * times - 1)^2, side, side, 3] of the resized photo."""
    frame = resize_image(image, times * side, resize)
    return tf.stack([frame[row:row + side, column:column + side]
                     for row, column in corners(side, times)])


def merge(answers: np.ndarray, times: int) -> np.ndarray:
    """The crops' probabilities [N, side, side] as one map [times * side, times * side]."""
    side = answers.shape[1]
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float32)
    weight = np.outer(ramp, ramp)
    total = np.zeros((times * side, times * side), np.float32)
    weights = np.zeros_like(total)
    for answer, (row, column) in zip(answers, corners(side, times), strict=True):
        place = np.s_[row:row + side, column:column + side]
        total[place] += weight * answer
        weights[place] += weight
    return total / weights
