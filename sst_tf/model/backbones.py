# SPDX-License-Identifier: Apache-2.0
"""Backbones at stride 8: normalised RGB in, two concatenated stages out.

Each function returns a functional `keras.Model` whose layer names are those of the published
weight files, so that `weights.load` can fill it by name. `dilated=False` builds the strides of
the published network instead (for comparison with it; the two stages are then two outputs).
"""

import keras
import tensorflow as tf
from keras import layers

from sst_tf.model.layers import Conv2D


@keras.saving.register_keras_serializable("sst_tf")
class Normalize(layers.Layer):
    """Raw RGB [B, H, W, 3] of 0..255 (uint8 or float) to what the published weights expect.

    "caffe": BGR minus the ImageNet mean; "torch": RGB / 255, standardised by channel;
    "unit": -1..1.
    """

    STATISTICS = {  # mode: (mean, scale) on 0..255 RGB
        "caffe": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
        "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        "unit": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    }

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, scale = self.STATISTICS[self.mode]
        x = (tf.cast(x, self.compute_dtype) - tf.constant(mean, self.compute_dtype)) / tf.constant(
            scale, self.compute_dtype)
        return tf.reverse(x, axis=[-1]) if self.mode == "caffe" else x

    def compute_output_shape(self, input_shape) -> tuple:
        return input_shape

    def compute_output_spec(self, x) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "mode": self.mode}


def resnet50(dilated: bool = True) -> keras.Model:
    """ResNet-50 through conv4 as Keras distributes it: stride in a block's first 1x1, BGR.

    conv3 (512) and conv4 (1024), joined to 1536 channels. Dilated: conv4 at stride 1 with its
    3x3 convolutions dilated by 2.
    """
    def bottleneck(x, name, filters, strides=1, dilation=1, project=False):
        shortcut = x
        if project:
            shortcut = Conv2D(4 * filters, 1, strides, padding="valid", name=f"{name}_0_conv")(x)
            shortcut = norm(f"{name}_0_bn")(shortcut)
        x = Conv2D(filters, 1, strides, padding="valid", name=f"{name}_1_conv")(x)
        x = layers.ReLU()(norm(f"{name}_1_bn")(x))
        x = Conv2D(filters, 3, dilation=dilation, name=f"{name}_2_conv")(x)
        x = layers.ReLU()(norm(f"{name}_2_bn")(x))
        x = norm(f"{name}_3_bn")(Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x))
        return layers.ReLU(name=f"{name}_out")(layers.Add()([shortcut, x]))

    def norm(name):
        return layers.BatchNormalization(epsilon=1.001e-5, name=name)

    image = keras.Input((None, None, 3))
    x = Normalize("caffe", name="normalize")(image)
    x = layers.ZeroPadding2D(3)(x)
    x = layers.ReLU()(norm("conv1_bn")(Conv2D(64, 7, 2, padding="valid", name="conv1_conv")(x)))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    stages = []
    for stage, blocks, filters, strides in ((2, 3, 64, 1), (3, 4, 128, 2), (4, 6, 256, 2)):
        dilation = 2 if dilated and stage == 4 else 1
        for block in range(1, blocks + 1):
            first = block == 1
            x = bottleneck(x, f"conv{stage}_block{block}", filters,
                           strides if first and dilation == 1 else 1, dilation, project=first)
        stages.append(x)
    return _finish("resnet50", image, stages[1:], dilated)


def vgg16(dilated: bool = True) -> keras.Model:
    """VGG-16: conv4_3 (512) and conv5_3 (512), joined to 1024 channels.

    Dilated: pool 4 at stride 1 and conv5 dilated by 2. Pools pad at the end where a side is odd
    (321 -> 161 -> 81 -> 41); on even sides they equal the published ones.
    """
    image = keras.Input((None, None, 3))
    x = Normalize("caffe", name="normalize")(image)
    stages = []
    for block, (convolutions, filters) in enumerate(
            ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for i in range(1, convolutions + 1):
            x = Conv2D(filters, 3, dilation=2 if dilated and block == 5 else 1, activation="relu",
                       name=f"block{block}_conv{i}")(x)
        stages.append(x)
        if block < 5:
            x = layers.MaxPooling2D(2, 1 if dilated and block == 4 else 2, padding="same",
                                    name=f"block{block}_pool")(x)
    return _finish("vgg16", image, stages[3:], dilated)


def resnet18(dilated: bool = True) -> keras.Model:
    """ResNet-18 through layer3 as torchvision defines it, batch norm folded into kernel and bias.

    layer2 (128) and layer3 (256), joined to 384 channels. Dilated: layer3 at stride 1. The
    convolution that held the stride sees its input as it was trained to and stays undilated;
    the three behind it are dilated by 2.
    """
    def block(x, name, filters, strides, dilations, project):
        shortcut = x
        if project:
            shortcut = Conv2D(filters, 1, strides, padding="valid", name=f"{name}_shortcut")(x)
        x = Conv2D(filters, 3, strides, dilations[0], "relu", symmetric=True,
                   name=f"{name}_conv1")(x)
        x = Conv2D(filters, 3, 1, dilations[1], symmetric=True, name=f"{name}_conv2")(x)
        return layers.ReLU()(layers.Add()([shortcut, x]))

    image = keras.Input((None, None, 3))
    x = Normalize("torch", name="normalize")(image)
    x = Conv2D(64, 7, 2, activation="relu", symmetric=True, name="conv1")(x)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # zeros lose against ReLU outputs
    stages = []
    for stage, filters in ((1, 64), (2, 128), (3, 256)):
        hole = 2 if dilated and stage == 3 else 1
        strides = 2 if stage > 1 and hole == 1 else 1
        x = block(x, f"layer{stage}_0", filters, strides, (1, hole), project=stage > 1)
        x = block(x, f"layer{stage}_1", filters, 1, (hole, hole), project=False)
        stages.append(x)
    return _finish("resnet18", image, stages[1:], dilated)


def small(dilated: bool = True) -> keras.Model:
    """Six convolutions with group norm, trained from scratch; for the embedded data set."""
    image = keras.Input((None, None, 3))
    x = Normalize("unit", name="normalize")(image)
    stages = []
    for i, (filters, strides, dilation) in enumerate(
            ((32, 2, 1), (32, 1, 1), (64, 2, 1), (64, 1, 1), (96, 2, 1), (96, 1, 2)), start=1):
        x = Conv2D(filters, 3, strides, dilation if dilated else 1, use_bias=False,
                   name=f"conv{i}")(x)
        x = layers.ReLU()(layers.GroupNormalization(8, name=f"norm{i}")(x))
        stages.append(x)
    return _finish("small", image, stages[4:], dilated)


def _finish(name, image, stages, dilated):
    outputs = layers.Concatenate(name="features")(stages) if dilated else stages
    return keras.Model(image, outputs, name=name)


BACKBONES = {"resnet50": resnet50, "vgg16": vgg16, "resnet18": resnet18, "small": small}
CHANNELS = {"resnet50": 1536, "vgg16": 1024, "resnet18": 384, "small": 192}
STRIDE = 8
