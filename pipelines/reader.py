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


def read_class_mask(source, name, class_id, ignore_ids=()):
    """uint8 [H, W] of 0, 1, 255: one class (scalar int tensor) in the photo `name`."""
    def read(n, c):
        return source.class_mask(n.decode(), int(c), ignore_ids)

    return tf.ensure_shape(tf.numpy_function(read, [name, class_id], tf.uint8), [None, None])


def read_features(features, name, flipped):
    """float32 [h, w, C] of the photo `name` from a feature store."""
    def read(n, f):
        return np.ascontiguousarray(features.read(n.decode(), bool(f)), np.float32)

    return tf.ensure_shape(tf.numpy_function(read, [name, flipped], tf.float32), features.shape)


def photo_dataset(source, names, image_size, parallel_calls=2, masks=False, flipped=None,
                  features=None):
    """Photos in the order of `names`.

    Args:
        masks: yield index masks too.
        flipped: which photos are mirrored, with their masks, [N] bool; none unless given.
        features: a store as in `episode_dataset`, whose features stand in the photos' place.

    Yields:
        {"name": [], "image": [S, S, 3] uint8 (or "features": [h, w, C] float32)} and "mask":
        [S, S] uint8 if asked for.
    """
    def load(name, flip):
        photo = {"name": name}
        if features is not None:
            photo["features"] = read_features(features, name, flip)
        else:
            image = resize_image(read_image(source, name), image_size)
            photo["image"] = mirror(tf.ensure_shape(image, [image_size, image_size, 3]), flip)
        if masks:
            mask = resize_mask(read_mask(source, name), image_size)
            photo["mask"] = mirror(tf.ensure_shape(mask, [image_size, image_size]), flip)
        return photo

    names = list(names)
    flipped = np.zeros(len(names), bool) if flipped is None else np.asarray(flipped, bool)
    photos = tf.data.Dataset.from_tensor_slices((tf.constant(names, tf.string), flipped))
    return photos.map(load, parallel_calls, deterministic=True)
