# SPDX-License-Identifier: Apache-2.0
"""COCO's run lengths: how many pixels of 0, then of 1, then of 0 ..., column by column."""

from typing import Any

import numpy as np


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths, {"size": [H, W], "counts": [...]}, of a mask [H, W]."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], starts, [flat.size]])).tolist()
    if flat.size and flat[0]:  # the first run is of background
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": counts}


def mask_of_run_lengths(shape: dict[str, Any]) -> np.ndarray:
    """The mask, uint8 [H, W] of 0 and 1, of COCO's run lengths, compressed or not.

    Raises:
        ValueError: in words, where they are not of as many pixels as their size.
    """
    counts = shape["counts"]
    counts = counts if isinstance(counts, list) else _unpacked(counts)
    height, width = shape["size"]
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, their size has {height * width}")
    flat = np.repeat((np.arange(len(counts)) % 2).astype(np.uint8), counts)
    return flat.reshape(shape["size"], order="F")


def _unpacked(text):
    """Run lengths of the compressed form: five bits a byte, differences from the fourth on."""
    runs, value, shift = [], 0, 0
    for byte in text if isinstance(text, bytes) else text.encode():
        part = byte - 48
        if not 0 <= part < 64 or shift > 40:  # no photo has that many pixels
            raise ValueError("run lengths that are no compressed text of COCO's")
        value |= (part & 31) << shift
        shift += 5
        if not part & 32:
            value -= (part >> 4 & 1) << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths that end in the middle of a number")
    return runs
