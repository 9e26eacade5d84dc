# SPDX-License-Identifier: Apache-2.0
"""Photos to uint8 RGB, whatever door they come by: a path, a file's bytes or an array."""

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.reading.files import (
    DAMAGED,
    DEEP_PNG,
    exif_orientation,
    head_of,
    is_text,
    open_picture,
    read_header,
)

TURNS = {  # EXIF orientation: how stored pixels become upright ones
    2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1), 8: lambda x: x.swapaxes(0, 1)[::-1]}

BITS = 258  # TIFF's tag of bits a channel

Photo = str | os.PathLike | bytes | np.ndarray


def load_photo(photo: Photo, what: str = "photo") -> np.ndarray:
    """One's own photo, uint8 [H, W, 3] RGB, upright: a camera's rotation mark (EXIF) is followed.

    Gray, 1-bit, palette and CMYK photos become RGB, transparency is left out.

    Args:
        photo: path or bytes of a JPEG, a PNG or what else Pillow reads; or an array: uint8
            [H, W, 3] RGB or [H, W] gray, taken as it is.
        what: name of bytes, for messages.
    Raises:
        DataError: a damaged file, more than 8 bits a channel or `files.MAX_PIXELS`, or an array
            that is no photo.
    """
    if isinstance(photo, (str, os.PathLike)):
        photo = Path(photo)
        return np.ascontiguousarray(turn(read_photo(photo), orientation(photo)))
    if isinstance(photo, bytes):
        return np.ascontiguousarray(turn(decode_photo(photo, what), orientation(photo, what)))
    array = np.asarray(photo)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape or (
            array.ndim == 3 and array.shape[2] != 3):
        raise DataError(f"a photo is uint8 [H, W, 3] RGB or [H, W] gray, not {array.dtype} "
                        f"{list(array.shape)}")
    return np.ascontiguousarray(array if array.ndim == 3 else np.repeat(array[..., None], 3, -1))


def read_photo(path: Path) -> np.ndarray:
    """A data set's photo: uint8 [H, W, 3] RGB of the stored pixels, as masks were drawn on them.

    A rotation mark is not followed; `files.same_size` tells of a mask that was drawn upright where
    the sides differ by it.

    Raises:
        DataError: a damaged file, or more than 8 bits a channel (Pillow would cut them off).
    """
    header = read_header(path)
    if header.plain and is_text(path):  # OpenCV falls over a name that is not UTF-8
        # One call without Python's lock, in less than half of Pillow's time.
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and pixels.shape[1::-1] == header.size:
            return pixels
    return decode_photo(path)


def decode_photo(source: Path | bytes, what: str = "photo") -> np.ndarray:
    """`read_photo` by Pillow, of a path or of bytes that messages call `what`."""
    name = what if isinstance(source, bytes) else source
    with open_picture(source, what) as photo:
        return rgb_of(photo, name, DEEP_PNG.match(head_of(source)) is not None)


def rgb_of(photo: Image.Image, name: object, deep: bool = False) -> np.ndarray:
    """The pixels of an open picture, uint8 [H, W, 3].

    Args:
        name: for messages.
        deep: it is known to have more than 8 bits a channel.
    Raises:
        DataError: damaged, or more than 8 bits a channel.
    """
    try:
        bits = getattr(photo, "tag_v2", {}).get(BITS, (8,))  # of a TIFF
        if deep or photo.mode.startswith(("I", "F")) or max(bits) > 8:
            raise DataError(f"{name}: a photo of mode {photo.mode}, more than 8 bits a channel; "
                            "save it with 8")
        return np.asarray(photo.convert("RGB"))
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{name}: damaged photo ({error}); fetch it again or leave it out"
                        ) from None


def orientation(source: str | os.PathLike | bytes, what: str = "photo") -> int:
    """The EXIF orientation of the pixels that `read_photo` returns, 1 to 8; 1 where it has none."""
    source = source if isinstance(source, bytes) else Path(source)
    with open_picture(source, what) as photo:
        if photo.format == "TIFF":
            return 1  # Pillow turns these as it reads them
        try:
            return exif_orientation(photo)
        except DAMAGED as error:
            name = what if isinstance(source, bytes) else source
            raise DataError(f"{name}: damaged photo ({error}); fetch it again") from None


def turn(pixels: np.ndarray, mark: int) -> np.ndarray:
    """Stored pixels [H, W, ...] the way that an EXIF orientation says they are to be shown."""
    return TURNS.get(mark, lambda x: x)(pixels)
