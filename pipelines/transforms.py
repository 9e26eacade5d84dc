"""From decoded photos and masks to network size; functions of TensorFlow ops."""

import tensorflow as tf


def resize_image(image, size):
    """uint8 [H, W, 3] -> uint8 [size, size, 3]: bilinear, sides squashed."""
    resized = tf.image.resize(image, (size, size), "bilinear")
    return tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)


def resize_mask(mask, size):
    """uint8 [H, W] -> [size, size], nearest: values stay what they are."""
    return tf.image.resize(mask[..., None], (size, size), "nearest")[..., 0]


def resize_class_mask(mask, size):
    """Resize a mask of 0, 1, 255 so that an object never vanishes.

    Nearest sampling can step over an object of a few pixels (rule `none` keeps such pairs);
    then every cell that the object touches is foreground instead.
    """
    nearest = resize_mask(mask, size)
    foreground = tf.cast(mask == 1, tf.float32)
    touched = tf.image.resize(foreground[..., None], (size, size), "area")[..., 0] > 0
    grown = tf.where(touched, tf.ones_like(nearest), nearest)
    return tf.where(tf.reduce_any(nearest == 1), nearest, grown)


def flips(seed, episode_id, count):
    """Which of an episode's `count` photos are mirrored, [count] bool: by (seed, episode id)."""
    state = tf.stack([tf.cast(seed, tf.int64), tf.cast(episode_id, tf.int64)])
    return tf.random.stateless_uniform([count], state) < 0.5


def random_flip(episode, seed):
    """Mirror photos and masks of one unbatched episode, each photo together with its mask.

    Args:
        episode: `support_mask` [K, S, S], `query_mask` [S, S], `episode_id`; and, unless it holds
            features (which their store flips), `support_image` [K, S, S, 3], `query_image`.
        seed: with the episode's id it decides, by `flips`: supports first, the query last.
    """
    shots = episode["support_mask"].shape[0]
    flipped = flips(seed, episode["episode_id"], shots + 1)
    episode = dict(episode)
    for kind in ("image", "mask"):
        if f"support_{kind}" in episode:
            photos = episode[f"support_{kind}"]
            episode[f"support_{kind}"] = tf.stack(
                [mirror(photos[k], flipped[k]) for k in range(shots)])
            episode[f"query_{kind}"] = mirror(episode[f"query_{kind}"], flipped[shots])
    return episode


def mirror(picture, flipped):
    """Mirror [H, W, ...] left to right where the scalar `flipped` says so."""
    return tf.cond(flipped, lambda: tf.reverse(picture, axis=[1]), lambda: picture)
