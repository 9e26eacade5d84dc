# SPDX-License-Identifier: Apache-2.0
"""What people are shown of a photo that they marked."""

import cv2
import numpy as np

from sst_tf.reporting.drawing import GREEN, overlay


def thumbnail(image: np.ndarray, mask: np.ndarray, side: int = 128) -> bytes:
    """PNG bytes of a marked photo, its longest side `side`.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 [H, W] of 0, 1, 255.
        side: in pixels.
    """
    scale = side / max(image.shape[:2])
    size = tuple(max(1, round(n * scale)) for n in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    marks = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", overlay(small, marks, GREEN)[..., ::-1])[1].tobytes()
