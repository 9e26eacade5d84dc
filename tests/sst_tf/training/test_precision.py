# SPDX-License-Identifier: Apache-2.0
"""Products in bfloat16, of a call and not of a function."""

import numpy as np
import tensorflow as tf

from sst_tf.training.precision import products


def test_a_function_computes_in_float32_again_outside():
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 16, 16)), tf.float32)
    images = tf.constant(np.random.default_rng(1).normal(size=(2, 12, 12, 16)), tf.float32)

    @tf.function
    def convolve(x):
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))

    before = convolve(images).numpy()
    with products("bfloat16"):
        inside = convolve(images).numpy()
        with products("float32"):
            nested = convolve(images).numpy()
    np.testing.assert_array_equal(before, nested)
    np.testing.assert_array_equal(before, convolve(images).numpy())
    np.testing.assert_allclose(inside, before, atol=0.2)
    if "bf16" in open("/proc/cpuinfo", encoding="utf-8").read():
        assert np.abs(inside - before).max() > 1e-4  # it did something
