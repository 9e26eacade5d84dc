"""Every transform alone and inside `tf.data`: the two must not differ."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.transforms import (
    flips,
    random_flip,
    resize_class_mask,
    resize_image,
    resize_mask,
)


def both(function, *arguments):
    """The result of a function of tensors, asserted to be the same inside `tf.data`."""
    alone = tf.nest.map_structure(lambda t: t.numpy(), function(*arguments))
    mapped = tf.data.Dataset.from_tensors(arguments).map(lambda *a: function(*a))
    inside = tf.nest.map_structure(lambda t: t.numpy(), next(iter(mapped)))
    tf.nest.map_structure(np.testing.assert_array_equal, alone, inside)
    return alone


def test_resize_image():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    small = both(lambda i: resize_image(i, 16), image)
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8
    np.testing.assert_array_equal(both(lambda i: resize_image(i, 30), image[:, :30]),
                                  image[:, :30])
    ramp = tf.constant(np.array([[0, 1], [2, 3]], np.uint8)[..., None].repeat(3, -1))
    # Half-pixel centres, rounded: 0, 0.25, 0.75, 1 on the first row.
    np.testing.assert_array_equal(resize_image(ramp, 4)[0, :, 0], [0, 0, 1, 1])


def test_resize_mask_invents_no_values():
    mask = tf.constant(np.random.default_rng(0).choice([0, 3, 20, 255], (37, 51)).astype(np.uint8))
    small = both(lambda m: resize_mask(m, 16), mask)
    assert small.shape == (16, 16) and set(np.unique(small)) <= {0, 3, 20, 255}
    np.testing.assert_array_equal(both(lambda m: resize_mask(m, 37), mask[:, :37]), mask[:, :37])


def test_class_mask_resized_as_nearest_where_that_keeps_the_object():
    mask = np.zeros((60, 90), np.uint8)
    mask[10:40, 20:70], mask[40:44] = 1, 255
    np.testing.assert_array_equal(both(lambda m: resize_class_mask(m, 16), tf.constant(mask)),
                                  resize_mask(tf.constant(mask), 16))


@pytest.mark.parametrize("row, column", [(0, 0), (17, 31), (99, 99), (50, 3)])
def test_single_pixels_never_vanish(row, column):
    mask = np.zeros((100, 100), np.uint8)
    mask[row, column] = 1
    small = both(lambda m: resize_class_mask(m, 9), tf.constant(mask))
    assert small.sum() >= 1 and small[row * 9 // 100, column * 9 // 100] == 1


def test_nothing_grows_out_of_an_empty_mask():
    mask = np.zeros((100, 100), np.uint8)
    mask[:50] = 255
    assert set(np.unique(both(lambda m: resize_class_mask(m, 9), tf.constant(mask)))) == {0, 255}


def test_flips_are_fair_repeatable_and_one_a_photo():
    drawn = np.array([flips(5, episode, 2).numpy() for episode in range(400)])
    np.testing.assert_array_equal(drawn[123], flips(5, tf.constant(123, tf.int64), 2))
    assert not np.array_equal(drawn[:20], [flips(6, e, 2).numpy() for e in range(20)])
    # 400 draws each: half of them, within 5 standard deviations; photos on their own.
    assert (np.abs(drawn.mean(0) - 0.5) < 0.125).all()
    assert abs((drawn[:, 0] == drawn[:, 1]).mean() - 0.5) < 0.125


def test_random_flip_takes_image_and_mask_together():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (3, 6, 6)).astype(np.uint8)
    images = np.repeat(masks[..., None] * 100, 3, -1)
    seen = set()
    for number in range(12):
        episode = {"support_mask": tf.constant(masks[:2]), "query_mask": tf.constant(masks[2]),
                   "support_image": tf.constant(images[:2]), "query_image": tf.constant(images[2]),
                   "episode_id": tf.constant(number, tf.int64)}
        turned = both(lambda e: random_flip(e, 7), episode)
        decided = flips(7, number, 3).numpy()
        seen.add(tuple(decided))
        for k, (mask, image) in enumerate([*zip(turned["support_mask"], turned["support_image"],
                                                strict=True),
                                           (turned["query_mask"], turned["query_image"])]):
            np.testing.assert_array_equal(image[..., 0], mask * 100)
            np.testing.assert_array_equal(mask, masks[k][:, ::-1] if decided[k] else masks[k])
    assert len(seen) > 3
