"""Reading photos and masks from disk, with errors that name the file and the remedy."""

import struct

import numpy as np
from PIL import Image

from pipelines.errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
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
    """uint8 [H, W, 3] RGB; DataError for a damaged file (OpenCV would return half of it)."""
    with open_picture(path) as photo:
        try:
            return np.asarray(photo.convert("RGB"))
        except DAMAGED as error:
            raise DataError(f"{path}: damaged photo ({error}); fetch it again or take its id "
                            "off the split") from None


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
            raise DataError(f"{path}: {size[0]} x {size[1]} pixels, its photo has "
                            f"{photo.size[0]} x {photo.size[1]} (width x height); make the mask "
                            "anew at the photo's size")
