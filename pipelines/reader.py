"""Decoding inside `tf.data`: a source's NumPy readers as graph functions."""

import numpy as np
import tensorflow as tf

from pipelines.transforms import resize_image, resize_mask


def read_image(source, name):
    """uint8 [H, W, 3] of the photo `name` (scalar string tensor)."""
    image = tf.numpy_function(lambda n: source.read_image(n.decode()), [name], tf.uint8)
    return tf.ensure_shape(image, [None, None, 3])


def read_mask(source, name):
    """uint8 [H, W] index mask of the photo `name` (scalar string tensor)."""
    mask = tf.numpy_function(lambda n: source.read_mask(n.decode()), [name], tf.uint8)
    return tf.ensure_shape(mask, [None, None])


def read_features(features, name, flipped):
    """float32 [h, w, C] of the photo `name` from a feature store."""
    def read(n, f):
        return np.ascontiguousarray(features.read(n.decode(), bool(f)), np.float32)

    return tf.ensure_shape(tf.numpy_function(read, [name, flipped], tf.float32), features.shape)


def photo_dataset(source, names, image_size, parallel_calls=2):
    """Photos in the order of `names`.

    Yields:
        {"name": [], "image": [S, S, 3] uint8, "mask": [S, S] uint8 index mask, "size": [2] int32
        (height, width before resizing)}.
    """
    def load(name):
        image = read_image(source, name)
        return {"name": name, "size": tf.shape(image)[:2],
                "image": tf.ensure_shape(resize_image(image, image_size),
                                         [image_size, image_size, 3]),
                "mask": tf.ensure_shape(resize_mask(read_mask(source, name), image_size),
                                        [image_size, image_size])}

    names = tf.data.Dataset.from_tensor_slices(tf.constant(list(names), tf.string))
    return names.map(load, parallel_calls, deterministic=True)
