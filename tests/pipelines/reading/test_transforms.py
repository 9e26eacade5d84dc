# SPDX-License-Identifier: Apache-2.0
"""Every transform alone and inside `tf.data`: the two must not differ."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.reading.augment import NUMBERS, Augment, augment
from pipelines.reading.photos import read_photo
from pipelines.reading.transforms import (
    flips,
    framed_size,
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


def test_padding_keeps_the_aspect_and_does_not_count():
    image = tf.constant(np.full((30, 60, 3), 200, np.uint8))
    mask = tf.constant(np.ones((30, 60), np.uint8))
    small = both(lambda i: resize_image(i, 33, "pad"), image)
    target = both(lambda m: resize_class_mask(m, 33, "pad"), mask)
    assert small.shape == (33, 33, 3) and target.shape == (33, 33)
    # 33 x 16.5, cut to multiples of 8: 32 columns, 16 rows.
    np.testing.assert_array_equal(small[:16, :32], 200)
    assert not small[16:].any() and not small[:, 32:].any()
    np.testing.assert_array_equal(target[:16, :32], 1)
    assert (target[16:] == 255).all() and (target[:, 32:] == 255).all()
    tiny = np.zeros((300, 600), np.uint8)
    tiny[7, 9] = 1
    assert (both(lambda m: resize_class_mask(m, 33, "pad"), tf.constant(tiny)) == 1).sum() == 1


def test_framed_size_of_numbers_and_of_tensors():
    for height, width in ((375, 500), (500, 333), (473, 473), (4, 900)):
        plain = framed_size(height, width, 473, "pad")
        graph = framed_size(tf.constant(height), tf.constant(width), 473, "pad")
        assert plain == tuple(int(side) for side in graph)
        assert all(side % 8 == 0 and 8 <= side <= 473 for side in plain)
    assert framed_size(375, 500, 473, "pad") == (352, 472)  # pfenet: 354 and 473, cut


def test_a_fine_pattern_shrinks_to_gray_and_not_to_aliases():
    """A telephone's 12 megapixels with a checker of one pixel a field."""
    rows, columns = np.ogrid[:3000, :4000]
    checker = ((rows + columns) % 2 * 255).astype(np.uint8)
    photo = np.repeat(checker[..., None], 3, -1)
    for resize in ("squash", "pad"):
        high, wide = framed_size(3000, 4000, 257, resize)
        small = resize_image(tf.constant(photo), 257, resize).numpy()[:high, :wide].astype(int)
        assert np.abs(small - 127.5).max() <= 8, resize
    for numbers, flip in ((np.full(NUMBERS, 0.5), False), (np.full(NUMBERS, 0.2), True)):
        how = Augment(scale=(0.8, 1.2), rotation=10.0)
        shown, _ = augment(photo, np.ones((3000, 4000), np.uint8), 257, numbers, flip, how)
        assert np.abs(shown[90:170, 90:170].astype(int) - 127.5).max() <= 8


def test_photos_shrink_as_in_pillow(shared):
    path = shared / "data/mini80/JPEGImages"
    for photo in sorted(path.iterdir())[:4]:
        with Image.open(photo) as picture:
            expected = np.asarray(picture.convert("RGB").resize((97, 97),
                                                                Image.Resampling.BILINEAR))
        mine = both(lambda i: resize_image(i, 97), tf.constant(read_photo(photo))).astype(int)
        assert np.abs(mine - expected).max() <= 1


def test_shrinking_runs_in_a_saved_model(tmp_path):
    module = tf.Module()
    module.small = tf.function(lambda image: resize_image(image, 33, "pad"), input_signature=[
        tf.TensorSpec([None, None, 3], tf.uint8)])
    tf.saved_model.save(module, tmp_path)
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8))
    np.testing.assert_array_equal(tf.saved_model.load(tmp_path).small(image),
                                  resize_image(image, 33, "pad"))
