# SPDX-License-Identifier: Apache-2.0
"""Every method on six channels, its last layers large enough to matter."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.methods import METHODS

CHANNELS = 6
SMALL = {"classify": 2**0.5, "short": 1.0, "attention_2": 5.0}  # layers that start near zero


def make(name, **options):
    keras.utils.set_random_seed(0)
    head = METHODS[name](CHANNELS, **options)
    for variable in head.trainable_variables:
        layer = variable.path.split("/")[-2]
        if variable.name == "kernel" and layer in SMALL:
            variable.assign(SMALL[layer] * tf.random.stateless_normal(variable.shape, (1, 0)))
        if variable.name == "bias":
            variable.assign(0.1 * tf.random.stateless_normal(variable.shape, (2, 0)))
    return head


@pytest.fixture(params=list(METHODS))
def method(request):
    return request.param


@pytest.fixture
def photos():
    """Features [3, 5, 5, C] of the sign that a method wants."""
    def of(head):
        values = np.random.default_rng(3).standard_normal((3, 5, 5, CHANNELS)).astype("f")
        return values if head.signed else np.abs(values)
    return of
