# SPDX-License-Identifier: Apache-2.0
"""Reading photos and masks from disk, with errors that name the file and the remedy."""

import os
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
JPEG_END = b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"IEND\xaeB`\x82"
GRAY, PALETTE = 0, 3  # kinds of PNG
ORIENTATION = 0x0112  # EXIF; above 4 the photo is shown with its sides exchanged
# What Pillow raises for files that end early or hold something else.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def open_picture(path):
    """A Pillow image with its header read; DataError where that is not possible."""
    try:
        return Image.open(path)
    except DAMAGED as error:
        raise DataError(f"{path}: not readable as a picture ({error}); fetch it again or take its "
                        "id off the split") from None


class Header(NamedTuple):
    """What a photo's file says of itself.

    Attributes:
        size: (width, height) as stored.
        plain: a whole JPEG in colour or gray, for which OpenCV gives Pillow's pixels.
    """

    size: tuple[int, int]
    plain: bool


_headers = {}  # path: (time and length of the file, Header)


def read_header(path):
    """`Header` of a photo, looked at again when the file has changed."""
    try:
        now = path.stat()
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from None
    key = (now.st_mtime_ns, now.st_size)
    known = _headers.get(path)
    if known is None or known[0] != key:
        with open_picture(path) as photo:
            plain = photo.format == "JPEG" and photo.mode in ("RGB", "L") and _ends(path)
            known = _headers[path] = (key, Header(photo.size, plain))
    return known[1]


def _ends(path):
    """Whether a JPEG has its end: OpenCV says nothing of a file that stops early."""
    with open(path, "rb") as file:
        file.seek(-len(JPEG_END), os.SEEK_END)
        return file.read() == JPEG_END


def read_photo(path):
    """uint8 [H, W, 3] RGB of the stored pixels, whatever way up a tag says they are to be shown.

    Gray, palette and CMYK photos become RGB.

    Raises:
        DataError: a damaged file, or more than 8 bits a channel (Pillow would cut them off).
    """
    header = read_header(path)
    if header.plain:
        # One call without Python's lock, in less than half of Pillow's time.
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and pixels.shape[1::-1] == header.size:
            return pixels
    with open_picture(path) as photo:
        if photo.mode.startswith(("I", "F")):
            raise DataError(f"{path}: a photo of mode {photo.mode}, more than 8 bits a channel; "
                            "save it with 8")
        try:
            return np.asarray(photo.convert("RGB"))
        except DAMAGED as error:
            raise DataError(f"{path}: damaged photo ({error}); fetch it again or take its id "
                            "off the split") from None


def read_index(path):
    """uint8 [H, W] as stored in an 8-bit palette or gray PNG; None for a file of another kind.

    OpenCV gives a palette's colours, Pillow its index, but under Python's lock. So OpenCV is shown
    the same pixels under a gray header; a file that it does not like is left to Pillow.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    if not data.startswith(PNG_START) or not data.endswith(PNG_END) or (
            data[24] != 8 or data[25] not in (GRAY, PALETTE)):  # bits, kind
        return None
    start = 33  # of the first chunk after the header
    while data[start + 4:start + 8] != b"IDAT":
        start += 12 + int.from_bytes(data[start:start + 4], "big")
        if start >= len(data):
            return None
    header = data[12:25] + bytes([GRAY]) + data[26:29]
    gray = b"".join((data[:12], header, zlib.crc32(header).to_bytes(4, "big"), data[start:]))
    return cv2.imdecode(np.frombuffer(gray, np.uint8), cv2.IMREAD_UNCHANGED)


def read_values(path, picture):
    """The stored values of an open mask file; DataError for a damaged one."""
    try:
        return np.asarray(picture)
    except DAMAGED as error:
        raise DataError(f"{path}: damaged mask ({error}); make it anew") from None


def same_size(path, size, photo_path):
    """DataError where a mask's (width, height) is not its photo's."""
    stored = read_header(photo_path).size
    if stored != size:
        with open_picture(photo_path) as photo:
            turned = stored[::-1] == size and photo.getexif().get(ORIENTATION, 1) > 4
        remedy = (f"a tag in {photo_path.name} turns it; save it upright without the tag"
                  if turned else "make the mask anew at the photo's size")
        raise DataError(f"{path}: {size[0]} x {size[1]} pixels, its photo has "
                        f"{stored[0]} x {stored[1]} (width x height); {remedy}")
