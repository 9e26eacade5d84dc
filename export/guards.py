# SPDX-License-Identifier: Apache-2.0
"""Checks inside served graphs: a bad request gets a reason, the server stays alive.

TensorFlow Serving checks neither rank nor shape: a wrong rank aborts the process, six channels are
taken as a grouped convolution and answered. Every check here is part of the value that is used on,
so that no optimiser can leave it out.
"""

import tensorflow as tf

MAX_PIXELS = 2**24  # of all photos of a request: some 5 GiB of feature maps, 160 photos of 321x321


def photos(name: str, images: tf.Tensor, leading: list[int | None],
           side: int | None = None) -> tf.Tensor:
    """uint8 [*leading, H, W, 3] with a pixel in it and not too many; H and W free or `side`."""
    images = tf.ensure_shape(images, [*leading, side, side, 3])
    shape = tf.shape(images, tf.int64)
    return required(images, [
        (tf.reduce_all(shape > 0), f"{name}: empty; expected at least one photo with a pixel"),
        (tf.reduce_prod(shape[:-1]) <= MAX_PIXELS,
         f"{name}: more than {MAX_PIXELS} pixels in one request")])


def masks(name: str, masks: tf.Tensor, images: tf.Tensor, image_name: str) -> tf.Tensor:
    """uint8 masks of 0, 1, 255 of the size of their photos, each with a foreground pixel."""
    masks = tf.ensure_shape(masks, images.shape[:-1])
    masks = required(masks, [(tf.reduce_all(tf.shape(masks) == tf.shape(images)[:-1]),
                              f"{name}: not of the number and size of {image_name}")])
    known = (masks == 0) | (masks == 1) | (masks == 255)
    return required(masks, [
        (tf.reduce_all(known), f"{name}: holds values other than 0, 1 (the class) and 255 (void)"),
        (tf.reduce_all(tf.reduce_any(masks == 1, axis=[-2, -1])),
         f"{name}: a mask holds no pixel of 1, so nothing is marked")])


def batch(name: str, value: tf.Tensor, other: tf.Tensor, other_name: str) -> tf.Tensor:
    """A tensor with as many rows as another."""
    return required(value, [(tf.shape(value)[0] == tf.shape(other)[0],
                             f"{name}: another number of rows than {other_name}")])


def same_size(name: str, images: tf.Tensor, other: tf.Tensor, other_name: str) -> tf.Tensor:
    """Photos [..., H, W, 3] of the height and width of others."""
    return required(images, [(tf.reduce_all(tf.shape(images)[-3:] == tf.shape(other)[-3:]),
                              f"{name}: of another height or width than {other_name}")])


def tuned(prototype: tf.Tensor, score: tf.Tensor,
          row: list[int | None]) -> tuple[tf.Tensor, tf.Tensor]:
    """(prototype [B, *row], score [B, *row without D]) of numbers that are numbers.

    Args:
        row: [K, D], or [None, K, D] of several classes.
    """
    prototype = tf.ensure_shape(prototype, [None, *row])
    score = tf.ensure_shape(score, [None, *row[:-1]])
    prototype = required(prototype, [
        (tf.reduce_all(tf.shape(prototype) > 0), "prototype: empty; expected at least one row"),
        (tf.reduce_all(tf.math.is_finite(prototype)), "prototype: holds NaN or infinity")])
    score = required(score, [(tf.reduce_all((score >= 0) & (score <= 1)),
                              "score: holds a number outside 0..1")])
    return prototype, required(score, [
        (tf.reduce_all(tf.shape(score) == tf.shape(prototype)[:-1]),
         f"score: another number of {'rows' if len(row) == 2 else 'rows or classes'} than "
         "prototype")])


def answers(name: str, images: tf.Tensor, prototype: tf.Tensor) -> tf.Tensor:
    """Photos [B, H, W, 3], of whose answers under N classes each there are not too many pixels."""
    classes = tf.shape(prototype, tf.int64)[1]
    return required(images, [
        (tf.reduce_prod(tf.shape(images, tf.int64)[:-1]) * classes <= MAX_PIXELS,
         f"{name}: more than {MAX_PIXELS} pixels under all classes in one request")])


def required(value: tf.Tensor, checks: list[tuple[tf.Tensor, str]]) -> tf.Tensor:
    """`value`, once all (condition, reason) hold; INVALID_ARGUMENT with the reason otherwise."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [reason])
                                  for condition, reason in checks]):
        return tf.identity(value)
