# SPDX-License-Identifier: Apache-2.0
"""The floors are counted from the layers that are built."""

import tensorflow as tf

from sst_tf.model.layers import Conv2D
from sst_tf.model.methods.sst import SST
from sst_tf.training.step_cost import Flops


def counted(layer, side):
    """2 x multiply-adds of every convolution in a layer on a side x side map."""
    kernels = [v for v in layer.trainable_variables if v.name == "kernel"]
    pooled = [v for v in kernels if "aspp_pool" in v.path]  # acts on a 1 x 1 map
    return sum(2 * side**2 * int(tf.size(v)) for v in kernels if all(v is not p for p in pooled))


def test_floors_equal_the_layers():
    flops = Flops(side=41, backbone_channels=1536, channels=256)
    embedding = Conv2D(256, 3)
    embedding.build((None, None, None, 1536))
    assert flops.embedding == counted(embedding, 41)
    assert flops.head == counted(SST(256), 41)
    # The figures that the design gives for these layers.
    assert round(flops.embedding / 1e9, 1) == 11.9
    assert round(flops.head / 1e9, 1) == 23.1
    ratio = flops.step("+ tuning, second order") / flops.step("+ auxiliary")
    assert round(ratio, 2) == 1.37
