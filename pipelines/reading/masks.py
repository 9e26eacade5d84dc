# SPDX-License-Identifier: Apache-2.0
"""Marks from pictures: stored values first, then 0 background, 1 object, 255 does not count."""

import os
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.reading.files import (
    DAMAGED,
    DEEP_PNG,
    MAX_PIXELS,
    PNG_START,
    head_of,
    open_picture,
)

PNG_END = b"IEND\xaeB`\x82"
HEADER = 33  # bytes before the first chunk with something in it
GRAY, PALETTE = 0, 3  # kinds of PNG


def mask_values(source: str | os.PathLike | bytes, what: str = "mask") -> np.ndarray:
    """uint8 [H, W] of a mask picture as stored: gray levels, or a palette's index.

    1-bit pictures give 0 and 255; of three equal channels one is taken, transparency is left out.

    Args:
        source: path or bytes.
        what: name of bytes, for messages.
    Raises:
        DataError: a damaged file, colours, or 16 bits a channel.
    """
    source = source if isinstance(source, bytes) else Path(source)
    if not isinstance(source, bytes):
        what, index = str(source), read_index(source)
        if index is not None:
            return index
    with open_picture(source, what) as picture:
        if picture.mode.startswith(("I", "F")) or DEEP_PNG.match(head_of(source)):
            raise DataError(f"{what}: a mask of more than 8 bits a pixel; save it as a gray or "
                            "palette PNG of 0 and 255")
        try:
            _refuse_wrong_sums(picture.format, source, what)
            plain = picture if picture.mode in ("1", "L", "P") else _one_channel(what, picture)
            values = np.asarray(plain)
        except DataError:  # one of DAMAGED, and says all
            raise
        except DAMAGED as error:
            raise DataError(f"{what}: damaged mask ({error}); make it anew") from None
    return values.astype(np.uint8) * 255 if values.dtype == bool else values


def _refuse_wrong_sums(kind, source, what):
    """Pillow reads a PNG's rows without a look at the sums that would tell of a changed bit."""
    if kind == "PNG":
        with open_picture(source, what) as again:
            again.verify()


def marked(values: np.ndarray, what: str) -> np.ndarray:
    """uint8 [H, W] of 0, 1 and 255 from a mask's values.

    Args:
        values: [H, W]; bool, or 0 and 1, or 0 and 255, or 0, 1 and 255 (does not count).
        what: name for messages.
    Raises:
        DataError: other values.
    """
    if values.dtype == bool:
        return values.astype(np.uint8)
    found = set(np.unique(values).tolist())
    if found <= {0, 255}:
        return (values == 255).astype(np.uint8)
    if found <= {0, 1, 255}:
        return values.astype(np.uint8)
    raise DataError(f"{what}: holds {sorted(found)[:6]}; a mask's values are 0 and 1, 0 and 255, "
                    "or 0, 1 and 255 (does not count)")


def read_index(path: Path) -> np.ndarray | None:
    """uint8 [H, W] as stored in an 8-bit palette or gray PNG; None for a file of another kind.

    OpenCV gives a palette's colours, Pillow its index, but under Python's lock. So OpenCV is shown
    the same pixels under a gray header; a file that it does not like is left to Pillow.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    if not data.startswith(PNG_START) or not data.endswith(PNG_END) or len(data) < HEADER or (
            data[24] != 8 or data[25] not in (GRAY, PALETTE)) or (  # bits, kind
            zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big")):
        return None
    width, height = (int.from_bytes(data[at:at + 4], "big") for at in (16, 20))
    if width * height > MAX_PIXELS:
        return None
    start = HEADER
    while data[start + 4:start + 8] != b"IDAT":
        start += 12 + int.from_bytes(data[start:start + 4], "big")
        if start >= len(data):
            return None
    header = data[12:25] + bytes([GRAY]) + data[26:29]
    gray = b"".join((data[:12], header, zlib.crc32(header).to_bytes(4, "big"), data[start:]))
    return cv2.imdecode(np.frombuffer(gray, np.uint8), cv2.IMREAD_UNCHANGED)


def _one_channel(what, picture: Image.Image) -> Image.Image:
    """A colour picture of a mask, where all channels agree."""
    channels = np.asarray(picture.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise DataError(f"{what}: a mask in colours; save it as a gray or palette PNG of 0 and 255")
    return Image.fromarray(channels[..., 0])
