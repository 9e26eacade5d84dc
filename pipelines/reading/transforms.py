# SPDX-License-Identifier: Apache-2.0
"""From decoded photos and masks to network size; functions of TensorFlow ops."""

from typing import Any

import numpy as np
import tensorflow as tf

RESIZES = ("squash", "pad")
RESIZE_METHOD = "bilinear-antialiased"  # of photos; part of what is kept of them
CELL = 8  # padded photos end with a cell of the feature map, stride 8


def framed_size(height: Any, width: Any, size: int, resize: str) -> tuple[Any, Any]:
    """(rows, columns) that a photo fills of a `size` x `size` picture; ints or scalar tensors.

    "squash" fills it all; "pad" keeps the aspect and cuts both sides to multiples of 8, at the
    picture's upper left (as pfenet, repri and bam do).
    """
    if resize == "squash":
        return size, size
    most = max if isinstance(height, int) else tf.maximum
    longest = most(height, width)
    return tuple(most(side * size // longest // CELL * CELL, CELL) for side in (height, width))


def resize_image(image: tf.Tensor | np.ndarray, size: int, resize: str = "squash") -> tf.Tensor:
    """uint8 [H, W, 3] -> uint8 [size, size, 3]: bilinear, antialiased; padding is black.

    Where a photo shrinks, the triangle of the filter grows with it, so that each of its pixels
    counts (as in Pillow); point-sampled, a fine pattern would come out as a coarse one.
    """
    framed = _framed(image, size, resize)
    if _fits(image, framed):
        return tf.convert_to_tensor(image)
    resized = tf.image.resize(image, framed, "bilinear", antialias=True)
    resized = tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)
    return _pad(resized, framed, size, 0)


def restore(probability: tf.Tensor | np.ndarray, size: Any, resize: str = "squash") -> tf.Tensor:
    """A network's map [S, S], or N of them, at the size (H, W) of the photo answered, float32."""
    height, width = framed_size(size[0], size[1], probability.shape[-1], resize)
    kept = [slice(None)] * (len(probability.shape) - 2) + [slice(height), slice(width), None]
    return tf.image.resize(probability[tuple(kept)], size, "bilinear")[..., 0]


def resize_mask(mask: tf.Tensor | np.ndarray, size: int, resize: str = "squash") -> tf.Tensor:
    """uint8 [H, W] -> [size, size], nearest: values stay what they are; padding is 255."""
    framed = _framed(mask, size, resize)
    if _fits(mask, framed):
        return tf.convert_to_tensor(mask)
    resized = tf.image.resize(mask[..., None], framed, "nearest")[..., 0]
    return _pad(resized, framed, size, 255)


def resize_class_mask(mask: tf.Tensor | np.ndarray, size: int, resize: str = "squash") -> tf.Tensor:
    """Resize a mask of 0, 1, 255 so that an object never vanishes.

    Nearest sampling can step over an object of a few pixels (pair filter `none` keeps such pairs);
    then every cell that the object touches is foreground instead.
    """
    framed = _framed(mask, size, resize)
    nearest = resize_mask(mask, size, resize)
    if _fits(mask, framed):
        return nearest

    def grown():
        foreground = tf.cast(mask == 1, tf.float32)
        area = tf.image.resize(foreground[..., None], framed, "area")[..., 0]
        return tf.where(_pad(area, framed, size, 0.0) > 0, tf.ones_like(nearest), nearest)

    return tf.cond(tf.reduce_any(nearest == 1), lambda: nearest, grown)


def _framed(picture, size, resize):
    shape = tf.shape(picture)
    return framed_size(shape[0], shape[1], size, resize)


def _fits(picture, framed):
    """The picture is known to be of its size already, as records are."""
    return isinstance(framed[0], int) and tuple(picture.shape[:2]) == framed


def _pad(picture, framed, size, value):
    if isinstance(framed[0], int):  # squashed: fills the picture
        return picture
    margins = [[0, size - framed[0]], [0, size - framed[1]]] + [[0, 0]] * (len(picture.shape) - 2)
    return tf.pad(picture, margins, constant_values=tf.cast(value, picture.dtype))


def flips(seed: int, episode_id: int | tf.Tensor, count: int) -> tf.Tensor:
    """Which of an episode's `count` photos are mirrored, [count] bool: by (seed, episode id)."""
    state = tf.stack([tf.cast(seed, tf.int64), tf.cast(episode_id, tf.int64)])
    return tf.random.stateless_uniform([count], state) < 0.5


def which(seed: int, episode_id: int | tf.Tensor, count: int, choices: int) -> tf.Tensor:
    """One of 0 .. choices - 1 for each of an episode's `count` photos: by (seed, episode id)."""
    state = tf.stack([tf.cast(seed, tf.int64) + 1, -1 - tf.cast(episode_id, tf.int64)])
    return tf.random.stateless_uniform([count], state, 0, choices, tf.int64)


def mirror(picture: tf.Tensor, flipped: tf.Tensor) -> tf.Tensor:
    """Mirror [H, W, ...] left to right where the scalar `flipped` says so."""
    return tf.cond(flipped, lambda: tf.reverse(picture, axis=[1]), lambda: picture)
