# SPDX-License-Identifier: Apache-2.0
"""What files of photos say of themselves, read by graph functions: rotation mark and palette.

TensorFlow decodes a JPEG's or PNG's pixels and nothing else; a server's graph cannot call Pillow.
"""

import numpy as np
import tensorflow as tf

MOST_PARTS = 2**14  # segments or chunks that are walked: a small file may have any number of them
ORIENTATION, LONG = 0x0112, 4  # EXIF's tag and the type of a number of four bytes
START_OF_PIXELS, APP1, FILL = 0xDA, 0xE1, 0xFF
PNG_SIGNATURE = 8  # bytes, before the first chunk
TIFF = b"Exif\0\0"


def orientation(data: tf.Tensor, png: tf.Tensor) -> tf.Tensor:
    """EXIF orientation 1 to 8 of a JPEG's or PNG's bytes, int32; 1 where it has none.

    Args:
        data: scalar string.
        png: scalar bool.
    """
    tiff = tf.cond(png, lambda: _png_chunk(data, b"eXIf"), lambda: _jpeg_exif(data))
    head = tf.strings.substr(tiff, 0, 2)
    tiff = tf.strings.join([tiff, tf.constant(bytes(16))])
    numbers = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    little = head == b"II"

    def number(at, count):
        """The unsigned one of 2 or 4 bytes at a place; 0 beyond the end."""
        places = tf.range(count)
        shifts = 8 * tf.where(little, places, count - 1 - places)
        inside = tf.clip_by_value(at + places, 0, tf.shape(numbers)[0] - 1)
        return tf.reduce_sum(tf.bitwise.left_shift(tf.gather(numbers, inside), shifts))

    start = number(4, 4)
    entries = tf.minimum(number(start, 2), 512)

    def look(index, found):
        entry = start + 2 + 12 * index
        written = number(entry + 8, tf.where(number(entry + 2, 2) == LONG, 4, 2))
        value = tf.where(number(entry, 2) == ORIENTATION, written, found)
        return index + 1, value

    known = (little | (head == b"MM")) & (start > 0) & (start < tf.shape(numbers)[0])
    _, found = tf.while_loop(lambda index, _: index < tf.where(known, entries, 0), look, (0, 1))
    return tf.where((found >= 1) & (found <= 8), found, 1)


def turn(pixels: tf.Tensor, mark: tf.Tensor) -> tf.Tensor:
    """Stored pixels [H, W, C] upright, by EXIF orientation (scalar int32)."""
    def any_of(*marks):
        return tf.reduce_any(mark == tf.constant(marks))

    pixels = tf.cond(any_of(5, 6, 7, 8), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(any_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(any_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


def palette_index(data: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 1], the palette's index of a palette PNG's bytes (scalar string).

    TensorFlow would decode its colours. It is given the same pixels under a gray header instead;
    values of less than 8 bits are stretched to 255 by the decoder, and brought back.
    """
    depth = _byte(data, 24)
    header = tf.strings.join([b"IHDR", tf.strings.substr(data, 16, 9), b"\0",
                              tf.strings.substr(data, 26, 3)])
    start = _walk_png(data, b"IDAT")[0]
    gray = tf.strings.join([tf.strings.substr(data, 0, 12), header, _checksum(header),
                            tf.strings.substr(data, start, 2**31 - 1)])
    values = tf.cast(tf.io.decode_png(gray, channels=1), tf.int32)
    most = tf.bitwise.left_shift(1, tf.clip_by_value(depth, 1, 8)) - 1
    return tf.cast(values * most // 255, tf.uint8)


def _jpeg_exif(data):
    """The TIFF part of a JPEG's first EXIF segment; empty where there is none."""
    length = tf.strings.length(data)

    def size(at):
        return 256 * _byte(data, at + 2) + _byte(data, at + 3)

    def is_exif(at):
        return (_byte(data, at + 1) == APP1) & (_slice(data, at + 4, 6) == TIFF)

    def goes_on(at):
        return (at + 4 <= length) & (_byte(data, at) == 0xFF) & (
            _byte(data, at + 1) != START_OF_PIXELS) & ~is_exif(at)

    def following(at):
        # Any number of fill bytes may stand before a segment's kind.
        return at + tf.where(_byte(data, at + 1) == FILL, 1, 2 + tf.maximum(size(at), 2)),

    at, = tf.while_loop(goes_on, following, (2,), maximum_iterations=MOST_PARTS)
    there = (at + 4 <= length) & is_exif(at)
    return tf.where(there, _slice(data, at + 10, tf.maximum(size(at) - 8, 0)), b"")


def _png_chunk(data, kind):
    """Content of a PNG's first chunk of a kind before its pixels; empty where there is none.

    Pillow and browsers, too, know no mark that follows the pixels before they have read these.
    """
    at, size = _walk_png(data, kind)
    return _slice(data, at + 8, size)


def _walk_png(data, kind):
    """(where a chunk of a kind starts, bytes of its content), of a PNG's head and first pixels.

    The string's end and 0 where there is none.
    """
    length = tf.strings.length(data)

    def size(at):
        # Larger numbers than a file has bytes would overflow.
        high = _byte(data, at) > 127
        number = tf.reduce_sum([_byte(data, at + i) * 256**(3 - i) for i in range(1, 4)])
        number += tf.where(high, 0, _byte(data, at)) * 2**24
        return tf.where(high, length, tf.minimum(number, length))

    def goes_on(at):
        here = _slice(data, at + 4, 4)
        return (at + 12 <= length) & (here != kind) & (here != b"IDAT")

    at, = tf.while_loop(goes_on, lambda at: (at + 12 + size(at),), (PNG_SIGNATURE,),
                        maximum_iterations=MOST_PARTS)
    there = (at + 12 <= length) & (_slice(data, at + 4, 4) == kind)
    return tf.where(there, at, length), tf.where(there, size(at), 0)


def _slice(data, at, count):
    """Bytes from a place on; fewer, or none, where the string ends before."""
    at = tf.minimum(at, tf.strings.length(data))
    return tf.strings.substr(data, at, count)


def _byte(data, at):
    """The byte at a place, int32; 0 beyond the end."""
    one = tf.strings.join([_slice(data, at, 1), b"\0"])
    return tf.cast(tf.io.decode_raw(tf.strings.substr(one, 0, 1), tf.uint8)[0], tf.int32)


def _checksum(text):
    """CRC-32 of 17 bytes, as 4 bytes with the highest first, as PNG has it."""
    table = tf.constant(np.array([_table(i) for i in range(256)], np.int64))
    crc = tf.constant(0xFFFFFFFF, tf.int64)
    numbers = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int64)
    for i in range(17):
        low = tf.bitwise.bitwise_and(tf.bitwise.bitwise_xor(crc, numbers[i]), 255)
        crc = tf.bitwise.bitwise_xor(tf.gather(table, low),
                                     tf.bitwise.right_shift(crc, tf.constant(8, tf.int64)))
    crc = tf.bitwise.bitwise_xor(crc, tf.constant(0xFFFFFFFF, tf.int64))
    letters = tf.constant([bytes([i]) for i in range(256)])
    shifts = tf.constant([24, 16, 8, 0], tf.int64)
    octets = tf.bitwise.bitwise_and(tf.bitwise.right_shift(crc, shifts), 255)
    return tf.strings.reduce_join(tf.gather(letters, octets))


def _table(index):
    """An entry of CRC-32's table: what one byte does to a register of zeros."""
    crc = index
    for _ in range(8):
        crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc
