"""Reading photos and masks from disk, with errors that name the file and the remedy."""

import struct

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
JPEG_END = b"\xff\xd9"
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


def read_photo(path):
    """uint8 [H, W, 3] RGB of the stored pixels, whatever way up a tag says they are to be shown.

    Gray, palette and CMYK photos become RGB.

    Raises:
        DataError: a damaged file (OpenCV would return half of it), or more than 8 bits a channel
            (Pillow would cut them off).
    """
    with open_picture(path) as photo:
        if photo.mode.startswith(("I", "F")):
            raise DataError(f"{path}: a photo of mode {photo.mode}, more than 8 bits a channel; "
                            "save it with 8")
        try:
            whole = _decode_whole(path) if photo.format == "JPEG" and photo.mode != "CMYK" else None
            return np.asarray(photo.convert("RGB")) if whole is None else whole
        except DAMAGED as error:
            raise DataError(f"{path}: damaged photo ({error}); fetch it again or take its id "
                            "off the split") from None


def _decode_whole(path):
    """A JPEG by OpenCV: Pillow's pixels in less than half the time; None where it has no end.

    OpenCV says nothing of a file that ends early, so such a file is left to Pillow.
    """
    data = path.read_bytes()
    if not data.endswith(JPEG_END):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8),
                        cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def read_values(path, picture):
    """The stored values of an open mask file; DataError for a damaged one."""
    try:
        return np.asarray(picture)
    except DAMAGED as error:
        raise DataError(f"{path}: damaged mask ({error}); make it anew") from None


def same_size(path, size, photo_path):
    """DataError where a mask's (width, height) is not its photo's."""
    with open_picture(photo_path) as photo:
        if photo.size != size:
            turned = photo.getexif().get(ORIENTATION, 1) > 4 and photo.size[::-1] == size
            remedy = (f"a tag in {photo_path.name} turns it; save it upright without the tag"
                      if turned else "make the mask anew at the photo's size")
            raise DataError(f"{path}: {size[0]} x {size[1]} pixels, its photo has "
                            f"{photo.size[0]} x {photo.size[1]} (width x height); {remedy}")
