# SPDX-License-Identifier: Apache-2.0
"""Random changes of a photo and its mask together, by one affine map."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.errors import DataError
from pipelines.reading.transforms import framed_size

PADDING = (0, 0, 0)  # of `transforms.resize_image`
MEAN_COLOUR = (124, 116, 104)  # of ImageNet: what shows where a photo does not reach
VOID = 255
ALIGNMENT = 64  # bytes
LEAST_BLUR = 0.28  # pixels; one of less moves no value by 1 of 255
MOST_BLURRED = 4  # times that a photo may be shrunk by blur and warp alone
NUMBERS = 6  # random ones a photo takes: scale, angle, shifts, blur, flip


class Augment(NamedTuple):
    """What training photos go through beside mirroring, each photo of an episode on its own.

    Attributes:
        scale: (least, most): how much larger a photo is shown than the picture; what sticks out
            is cut off at a random side, what is missing becomes the mean colour and void.
        rotation: degrees, turned by up to so much either way.
        blur: chance of a Gaussian blur, 5 x 5 pixels.
        query: False changes supports alone.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    blur: float = 0.0
    query: bool = True

    def checked(self) -> "Augment":
        """Itself; DataError for values that mean nothing."""
        least, most = self.scale
        if not 0.25 <= least <= most <= 4 or not 0 <= self.rotation <= 180 or (
                not 0 <= self.blur <= 1):
            raise DataError(f"{self}: a scale between 0.25 and 4 (least, most), a rotation of 0 to "
                            "180 degrees and a blur chance of 0 to 1 are expected")
        return self


# As in the published training codes.
PRESETS = {"canet": Augment(scale=(1.0, 1.5), query=False),
           "pfenet": Augment(scale=(0.9, 1.1), rotation=10.0, blur=0.5)}


def draw(seed: int, episode_id: int | tf.Tensor, count: int) -> tf.Tensor:
    """Uniform random numbers of an episode's `count` photos, [count, NUMBERS]."""
    state = tf.stack([tf.constant(seed, tf.int64), tf.cast(episode_id, tf.int64)])
    return tf.random.stateless_uniform([count, NUMBERS], state, alg="philox")


def augment(image: np.ndarray, mask: np.ndarray, size: int, numbers: np.ndarray, flip: bool,
            how: Augment, resize: str = "squash",
            into: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A photo and its mask as a training picture.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] of 0, 1, 255.
        size: side S of the result.
        numbers: NUMBERS uniform ones of `draw`.
        flip: mirror left to right by half the chance.
        how: an `Augment`.
        resize: "squash" or "pad", before anything else; outside a padded photo all is black, as
            in tests, outside a squashed one of ImageNet's mean colour.
        into: arrays to write the result to; new ones unless given.

    Returns:
        uint8 [S, S, 3] and [S, S]. The image is smoothed for the scale at which it is
        shown (`smoothed`), then sampled bilinearly; the mask is sampled nearest. Where the object
        would leave the picture or vanish, the photo is shown whole, mirrored at most.
    """
    framed = framed_size(mask.shape[0], mask.shape[1], size, resize)
    flipped = flip and numbers[5] < 0.5
    scale, angle, shift = placed(numbers, how)
    back = inverse(mask.shape, framed, size, scale, angle, shift, flipped)
    shown, target = into or (aligned((size, size, 3)), aligned((size, size)))
    inside = resize == "squash" and scale >= 1 and angle == 0
    outside = MEAN_COLOUR if resize == "squash" else PADDING
    _warp(mask, back, target, cv2.INTER_NEAREST, None if inside else VOID)
    if not (target == 1).any() and (mask == 1).any():
        scale, angle, shift = 1.0, 0.0, (0.0, 0.0)
        back = inverse(mask.shape, framed, size, scale, angle, shift, flipped)
        inside = resize == "squash"
        _warp(mask, back, target, cv2.INTER_NEAREST, None if inside else VOID)
        if not (target == 1).any():  # an object of a few pixels: keep its middle
            row, column = np.argwhere(mask == 1).mean(0)
            x, y = np.linalg.solve(back[:, :2], np.array([column, row]) - back[:, 2])
            target[int(np.clip(np.rint(y), 0, size - 1)), int(np.clip(np.rint(x), 0, size - 1))] = 1
    image = smoothed(image, framed, scale, exact=scale == 1 and angle == 0)
    back = inverse(image.shape, framed, size, scale, angle, shift, flipped)
    _warp(image, back, shown, cv2.INTER_LINEAR, None if inside else outside)
    if numbers[4] < how.blur:
        cv2.GaussianBlur(shown, (5, 5), 0, shown)
    return shown, target


def smoothed(image: np.ndarray, framed: tuple[int, int], scale: float,
             exact: bool = False) -> np.ndarray:
    """A photo [H, W, 3] for warping to where it is shown, so that each of its pixels counts.

    Warping takes four pixels for each of its own and would step over the others. A blur before it
    makes the two together as wide (in variance) as the filter of `transforms.resize_image`, so
    training pictures are as sharp as those of tests. Where a blur of all pixels would cost more
    than shrinking, or nothing but shrinking is done (`exact`), the photo is shrunk by that filter.

    Returns:
        uint8 [h, w, 4], the fourth channel of no meaning: OpenCV warps four in half the time.
    """
    sides = shown_sides(image.shape, framed, scale)
    factors = [before / after for before, after in zip(image.shape[:2], sides, strict=True)]
    if max(factors) > MOST_BLURRED or (exact and max(factors) > 1):
        # Pillow's filter is that of `transforms.resize_image`; it runs outside Python's lock.
        image = np.asarray(Image.fromarray(image).resize(sides[::-1], Image.Resampling.BILINEAR))
        return cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    wide = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    # A triangle f pixels to each side has variance f^2 / 6, bilinear sampling that of f = 1.
    rows, columns = (math.sqrt((factor ** 2 - 1) / 6) for factor in factors)
    if max(rows, columns) > LEAST_BLUR:
        taps = tuple(2 * max(1, round(2.5 * sigma)) + 1 for sigma in (columns, rows))
        # OpenCV takes a deviation of 0 for "choose one".
        cv2.GaussianBlur(wide, taps, max(columns, 1e-3), wide, max(rows, 1e-3))
    return wide


def shown_sides(shape: Sequence[int], framed: tuple[int, int], scale: float) -> tuple[int, int]:
    """(rows, columns) at which a photo of `shape` [H, W, ...] is shown, at most its own."""
    rows, columns = (min(side, max(1, round(shown * scale)))
                     for side, shown in zip(shape[:2], framed, strict=True))
    return rows, columns


def placed(numbers: np.ndarray, how: Augment) -> tuple[float, float, tuple[float, float]]:
    """(scale, angle in radians, shift in parts of the picture) from random numbers."""
    least, most = how.scale
    scale = least + float(numbers[0]) * (most - least)
    room = abs(1 - 1 / scale)
    return (scale, math.radians(how.rotation) * (2 * float(numbers[1]) - 1),
            ((float(numbers[2]) - 0.5) * room, (float(numbers[3]) - 0.5) * room))


def inverse(shape: Sequence[int], framed: tuple[int, int], size: int, scale: float, angle: float,
            shift: tuple[float, float], flipped: bool) -> np.ndarray:
    """[2, 3] from (x, y, 1) of the result's pixels to (x, y) of the photo's.

    Pixel to the middle of the picture at 0, side 1; mirrored, turned, scaled and shifted there;
    then to the photo's pixels. Plain numbers: this runs under Python's lock, for every photo.
    """
    width, height = shape[1] * size / framed[1], shape[0] * size / framed[0]  # of the picture
    sign = -1 if flipped else 1
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    first = 0.5 / size - 0.5  # the first pixel's centre
    return np.array([
        [width * cos * sign / size, -width * sin / size,
         width * (first * (cos * sign - sin) + shift[0] + 0.5) - 0.5],
        [height * sin * sign / size, height * cos / size,
         height * (first * (sin * sign + cos) + shift[1] + 0.5) - 0.5]])


def _warp(picture, back, result, how, fill):
    """Resample into `result`; `fill` stands outside the photo, None where its edge suffices.

    Of a picture with four channels the result has the first three.
    """
    border = ({"borderMode": cv2.BORDER_REPLICATE} if fill is None else
              {"borderMode": cv2.BORDER_CONSTANT, "borderValue": fill})
    flags, size = how | cv2.WARP_INVERSE_MAP, result.shape[1::-1]
    if picture.ndim == 2:
        cv2.warpAffine(picture, back, size, result, flags, **border)
        return
    cv2.cvtColor(cv2.warpAffine(picture, back, size, flags=flags, **border), cv2.COLOR_RGBA2RGB,
                 result)


def aligned(shape: Sequence[int]) -> np.ndarray:
    """An empty uint8 array that TensorFlow takes over as it is; others it copies."""
    count = int(np.prod(shape))
    room = np.empty(count + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start:start + count].reshape(shape)
