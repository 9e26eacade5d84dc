"""Decoding inside `tf.data`: a source's NumPy readers as graph functions."""

import numpy as np
import tensorflow as tf

from pipelines.transforms import mirror, resize_image, resize_mask


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


def photo_dataset(source, names, image_size, parallel_calls=2, flipped=None, features=None):
    """Photos in the order of `names`.

    Args:
        flipped: which of them are mirrored with their masks, [N] bool; none unless given.
        features: a store as in `episode_dataset`, whose features stand in the photos' place.

    Yields:
        {"name": [], "image": [S, S, 3] uint8 (or "features": [h, w, C] float32), "mask": [S, S]
        uint8 index mask, "size": [2] int32 (height, width of the mask before resizing)}.
    """
    def load(name, flip):
        mask = read_mask(source, name)
        photo = {"name": name, "size": tf.shape(mask),
                 "mask": mirror(tf.ensure_shape(resize_mask(mask, image_size),
                                                [image_size, image_size]), flip)}
        if features is not None:
            return photo | {"features": read_features(features, name, flip)}
        image = resize_image(read_image(source, name), image_size)
        return photo | {"image": mirror(tf.ensure_shape(image, [image_size, image_size, 3]), flip)}

    names = list(names)
    flipped = np.zeros(len(names), bool) if flipped is None else np.asarray(flipped, bool)
    photos = tf.data.Dataset.from_tensor_slices((tf.constant(names, tf.string), flipped))
    return photos.map(load, parallel_calls, deterministic=True)
