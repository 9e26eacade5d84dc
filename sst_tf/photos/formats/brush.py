# SPDX-License-Identifier: Apache-2.0
"""Label Studio's run lengths of a brush: thi.ng's rle-pack over the bytes of an RGBA picture.

Label Studio's own Python code for them comes with label-studio-sdk, whose 70 dependencies hold
OpenCV below 4.13 and bring NLTK and Black; a slow test runs it against this file in an environment
of its own.
"""

import numpy as np

from pipelines.errors import DataError

CHANNELS = 4
LENGTHS = (3, 4, 8, 16)  # bits that a run's length may take
WORD = 8


def encode(mask: np.ndarray) -> list[int]:
    """Bytes of a mask bool [H, W]: 255 where it is True, in all four channels."""
    flat = mask.ravel()
    ends = np.concatenate([np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    bits = [f"{flat.size * CHANNELS:032b}", f"{WORD - 1:05b}",
            *(f"{length - 1:04b}" for length in LENGTHS)]
    start, longest = 0, 1 << LENGTHS[-1]
    for end in ends.tolist():
        word, left = f"{255 * int(flat[start]):08b}", (end - start) * CHANNELS
        while left:
            run = min(left, longest)
            kind = next(i for i, length in enumerate(LENGTHS) if run <= 1 << length)
            bits.append(f"1{kind:02b}{run - 1:0{LENGTHS[kind]}b}{word}")
            left -= run
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i:i + 8], 2) for i in range(0, len(text), 8)]


def decode(rle: list[int], size: tuple[int, int], what: str) -> np.ndarray:
    """uint8 [H, W] of 0 and 1: where a brush's alpha channel is not 0.

    Raises:
        DataError: bytes that end early, or a picture of another size.
    """
    text = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count):
        nonlocal at
        if at + count > len(text):
            raise DataError(f"{what}: run lengths that end early")
        at += count
        return int(text[at - count:at], 2)

    total, word = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * CHANNELS:
        raise DataError(f"{what}: run lengths of {total // CHANNELS} pixels, the photo has "
                        f"{size[0] * size[1]}")
    values, done = np.zeros(total, np.uint8), 0
    while done < total:
        same, count = read(1), read(lengths[read(2)]) + 1
        if same:
            values[done:done + count] = read(word)
        else:
            values[done:done + count] = [read(word) for _ in range(min(count, total - done))]
        done += count
    return (values.reshape(*size, CHANNELS)[..., -1] > 0).astype(np.uint8)
