# SPDX-License-Identifier: Apache-2.0
"""One's own photos as people see them: any file, upright, RGB."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.reading.files import ORIENTATION, open_picture, read_photo, read_values

TURNS = {  # EXIF orientation: how stored pixels become upright ones
    2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1), 8: lambda x: x.swapaxes(0, 1)[::-1]}
MAX_PIXELS = 100_000_000


def load_photo(photo):
    """uint8 [H, W, 3] RGB, upright.

    Args:
        photo: path (JPEG, PNG, and what else Pillow reads; a camera's rotation mark is followed),
            or an array: uint8 [H, W, 3] RGB or [H, W] gray, taken as it is.
    Raises:
        DataError: a damaged file, or an array that is no photo.
    """
    if isinstance(photo, (str, Path)):
        path = Path(photo)
        with open_picture(path) as header:
            if header.width * header.height > MAX_PIXELS:
                raise DataError(f"{path}: {header.width} x {header.height} pixels; at most "
                                f"{MAX_PIXELS // 10**6} million are taken")
        return np.ascontiguousarray(turn(read_photo(path), orientation(path)))
    array = np.asarray(photo)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape or (
            array.ndim == 3 and array.shape[2] != 3):
        raise DataError(f"a photo is uint8 [H, W, 3] RGB or [H, W] gray, not {array.dtype} "
                        f"{list(array.shape)}")
    return np.ascontiguousarray(array if array.ndim == 3 else np.repeat(array[..., None], 3, -1))


def orientation(path):
    """The file's EXIF orientation, 1 where it has none."""
    with open_picture(path) as photo:
        return photo.getexif().get(ORIENTATION, 1)


def turn(pixels, mark):
    """Stored pixels [H, W, ...] the way that an EXIF orientation says they are to be shown."""
    return TURNS.get(mark, lambda x: x)(pixels)


def picture_values(path):
    """Values [H, W] of a mask picture as stored: gray levels, or a palette's index."""
    path = Path(path)
    with open_picture(path) as picture:
        if picture.mode not in ("1", "L", "P"):
            picture = _gray(path, picture)
        values = read_values(path, picture)
    return values.astype(np.uint8) * 255 if values.dtype == bool else values


def thumbnail(image, mask, side=128):
    """PNG bytes of a marked photo, its longest side `side`."""
    from sst_tf.reporting.drawing import GREEN, overlay
    scale = side / max(image.shape[:2])
    size = tuple(max(1, round(n * scale)) for n in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    marks = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", overlay(small, marks, GREEN)[..., ::-1])[1].tobytes()


def _gray(path, picture):
    """A colour picture of a mask, where all channels agree."""
    channels = np.asarray(picture.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise DataError(f"{path}: a mask in colours; save it as a gray or palette PNG of 0 and 255")
    return Image.fromarray(channels[..., 0])
