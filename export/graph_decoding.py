# SPDX-License-Identifier: Apache-2.0
"""From encoded photos and masks to the network's input and back, as graph functions.

Resizing is that of `pipelines.reading.transforms`, which training and evaluation use; decoding
gives the pixels and marks of `pipelines.reading.photos` and `masks`.
"""

import tensorflow as tf

from export import png_jpeg
from export.guards import MAX_PIXELS, required
from pipelines.reading.transforms import resize_class_mask, resize_image, restore

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def photo(data: tf.Tensor, size: int, resize: str = "squash") -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 [S, S, 3] and the photo's own [H, W] from JPEG or PNG bytes (scalar string).

    A camera's rotation mark (EXIF) is followed, as `pipelines.reading.photos.load_photo` does.
    """
    png = _starts(data, PNG)
    data = required(data, [(png | _starts(data, JPEG), "image: neither JPEG nor PNG bytes")])
    sides = tf.cond(png, lambda: _png_sides(data), lambda: tf.image.extract_jpeg_shape(data)[:2])
    deep = png & (_head(data, 24, 1) == b"\x10")
    data = required(data, [*_small(sides, "image"),
                           (~deep, "image: more than 8 bits a channel; save it with 8")])
    # The accurate transform: the default one is faster and differs from other decoders by a bit.
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    image = png_jpeg.turn(image, png_jpeg.orientation(data, png))
    image = tf.ensure_shape(image, [None, None, 3])
    return resize_image(image, size, resize), tf.shape(image)[:2]


def mask(data: tf.Tensor, size: int, resize: str = "squash") -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 [S, S] of 0, 1, 255 and its own [H, W] from a mask's PNG bytes.

    Gray, 1-bit, palette or three equal channels, as `pipelines.reading.masks` reads them. Values
    {0, 255} are background and object; {0, 1, 255} background, object, void.
    """
    data = required(data, [(_starts(data, PNG), "support_mask: not a PNG")])
    kind = _head(data, 25, 1)
    data = required(data, [
        (_head(data, 24, 1) != b"\x10", "support_mask: more than 8 bits a pixel; save it with 8"),
        *_small(_png_sides(data), "support_mask")])
    values = tf.cond(kind == b"\x03", lambda: tf.repeat(png_jpeg.palette_index(data), 3, -1),
                     lambda: tf.io.decode_png(data, channels=3))
    values = required(values, [(tf.reduce_all(values == values[..., :1]),
                                "support_mask: a mask in colours; save it as gray, 0 and 255")])
    values = tf.ensure_shape(values, [None, None, 3])[..., 0]
    ones = tf.reduce_any(values == 1)
    values = required(values, [
        (tf.reduce_all((values == 0) | (values == 1) | (values == 255)),
         "support_mask: values other than 0, 1 and 255"),
        (ones | tf.reduce_any(values == 255), "support_mask: nothing is marked")])
    marked = tf.where(ones, values, tf.cast(values == 255, tf.uint8))
    return resize_class_mask(marked, size, resize), tf.shape(marked)


def answer(probability: tf.Tensor, size: tf.Tensor, threshold: float, resize: str = "squash"
           ) -> tf.Tensor:
    """PNG bytes of 0 and 255 at a photo's own [H, W] from a probability map [S, S]."""
    marked = restore(probability, size, resize) >= threshold
    return tf.io.encode_png(tf.cast(marked, tf.uint8)[..., None] * tf.constant(255, tf.uint8))


def _starts(data, magic):
    return _head(data, 0, len(magic)) == magic


def _head(data, start, length):
    """Bytes of the header; of a shorter string, what zeros would give."""
    return tf.strings.substr(tf.strings.join([data, tf.constant(bytes(32))]), start, length)


def _png_sides(data):
    """[H, W] int32 as a PNG's header says."""
    sides = tf.io.decode_raw(_head(data, 16, 8), tf.int32, little_endian=False, fixed_length=8)
    return tf.reverse(sides, [0])


def _small(sides, name):
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    return [(tf.reduce_all(sides > 0) & (pixels <= MAX_PIXELS * 4),
             f"{name}: no pixels, or more than {MAX_PIXELS * 4}")]
