# SPDX-License-Identifier: Apache-2.0
"""Picture files: opened, their headers, and whether photo and mask agree in size."""

import io
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from pipelines.errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
DEEP_PNG = re.compile(re.escape(PNG_START) + b".{8}\x10", re.DOTALL)  # 16 bits a channel
ORIENTATION = 0x0112  # EXIF; above 4 the photo is shown with its sides exchanged
MAX_PIXELS = 100_000_000  # of a picture: a small file may claim to be more than memory holds
UPRIGHT = "a tag in {} turns it; save it upright without the tag"  # a remedy
# What Pillow raises for files that end early or hold something else.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def open_picture(source: Path | bytes, what: str = "photo") -> Image.Image:
    """A Pillow image with its header read; DataError where that is not possible.

    Args:
        source: path or bytes; messages call bytes `what`.
    Raises:
        DataError: no picture, or one of more than `MAX_PIXELS`.
    """
    name = what if isinstance(source, bytes) else source
    try:
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except DAMAGED as error:
        reason = ("of no known format" if isinstance(error, UnidentifiedImageError) else error)
        raise DataError(f"{name}: not readable as a picture ({reason}); fetch it again or leave it "
                        "out") from None
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise DataError(f"{name}: {picture.width} x {picture.height} pixels; at most "
                        f"{MAX_PIXELS // 10**6} million are taken")
    return picture


def head_of(source: Path | bytes, count: int = 32) -> bytes:
    """The first bytes of a file that `open_picture` could open."""
    if isinstance(source, bytes):
        return source[:count]
    with open(source, "rb") as file:
        return file.read(count)


def exif_orientation(photo: Image.Image) -> int:
    """The EXIF orientation of an open picture, 1 to 8; 1 where it has none.

    Pillow's `getexif` also takes one from XMP, which browsers and the served graph do not read.
    """
    exif = Image.Exif()
    exif.load(photo.info.get("exif", b""))
    return exif.get(ORIENTATION, 1)


def is_text(path: str | os.PathLike) -> bool:
    """Whether a file's name is UTF-8; others of old archives hold bytes that stand for no text."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str | os.PathLike) -> str:
    """A file's name as it can be printed, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def length_and_time(path: str | os.PathLike) -> tuple[int, int] | None:
    """(bytes, time of change in ns) of a file, which differ once it was written again.

    None where it cannot be looked at: whoever reads it says why.
    """
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


class Header(NamedTuple):
    """What a photo's file says of itself.

    Attributes:
        size: (width, height) as stored.
        plain: a whole JPEG in colour or gray, for which OpenCV gives Pillow's pixels.
        turned: a tag turns or mirrors it, and its size as shown is that as stored.
    """

    size: tuple[int, int]
    plain: bool
    turned: bool


# path: (time and length of the file, Header)
_headers: dict[Path, tuple[tuple[int, int], Header]] = {}


def read_header(path: Path) -> Header:
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
            known = _headers[path] = (key, Header(photo.size, plain, _turned(photo)))
    return known[1]


def _turned(photo):
    """Whether a tag turns an open photo in a way that no size tells of."""
    try:
        tag = exif_orientation(photo)
    except DAMAGED:
        return False
    return tag in (2, 3, 4) or tag in (5, 6, 7, 8) and photo.width == photo.height


def _ends(path):
    """Whether a JPEG has its end: OpenCV says nothing of a file that stops early."""
    with open(path, "rb") as file:
        file.seek(-len(JPEG_END), os.SEEK_END)
        return file.read() == JPEG_END


def size_remedy(path: Path, size: tuple[int, ...], otherwise: str) -> str | None:
    """What to do where a photo is not stored at `size` (width, height); None where it is.

    Args:
        otherwise: the remedy, unless an EXIF tag shows the photo turned, at that size.
    """
    stored = read_header(path).size
    if stored == size:
        return None
    with open_picture(path) as photo:
        try:
            turned = stored[::-1] == size and exif_orientation(photo) > 4
        except DAMAGED:
            turned = False
    return UPRIGHT.format(path.name) if turned else otherwise


def same_size(path: Path, size: tuple[int, ...], photo_path: Path) -> None:
    """DataError where a mask's (width, height) is not its photo's."""
    if remedy := size_remedy(photo_path, size, "make the mask anew at the photo's size"):
        stored = read_header(photo_path).size
        raise DataError(f"{path}: {size[0]} x {size[1]} pixels, its photo has "
                        f"{stored[0]} x {stored[1]} (width x height); {remedy}")
