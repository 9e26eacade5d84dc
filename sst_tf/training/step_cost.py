# SPDX-License-Identifier: Apache-2.0
"""What a training step costs beside the work it cannot avoid."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from sst_tf.model import backbones
from sst_tf.model.decoder import Decoder
from sst_tf.model.segmenter import SSTSegmenter


@dataclass
class Flops:
    """Convolution FLOPs (two a multiply-add) of one photo at a grid of `side` x `side`.

    Counted from the layers, as their shapes say; biases, ReLU and resizing are left out.
    """

    side: int
    backbone_channels: int
    channels: int

    def convolution(self, kernel: int, inputs: int, outputs: int) -> int:
        """Two a multiply-add of one convolution."""
        return 2 * self.side**2 * kernel**2 * inputs * outputs

    @property
    def embedding(self) -> int:
        """Of the encoder's trained layer."""
        return self.convolution(3, self.backbone_channels, self.channels)

    @property
    def head(self) -> int:
        """Of comparator and decoder."""
        c, branches = self.channels, len(Decoder.RATES)
        comparator = self.convolution(3, 2 * c, c) + self.convolution(3, c, c)
        residual = 4 * self.convolution(3, c, c)
        aspp = (branches * self.convolution(3, c, c) + self.convolution(1, c, c)
                + self.convolution(1, (branches + 2) * c, c))
        return comparator + residual + aspp + self.convolution(3, c, c) + self.convolution(1, c, 1)

    def step(self, mode: str) -> float:
        """One training step of one 1-shot episode with cached backbone features.

        A backward pass costs two forward passes where both the weights' and the inputs' gradient
        are needed; the embedding's input is cached and has none. Tuning adds the inner gradient,
        one pass of input gradients. Its outer gradient costs three passes' work: at second order
        it is differentiated (twice a pass, and the linear part of the first backward again).
        """
        embeddings = 2 * 2 * self.embedding  # two photos, forward and weights' gradient
        passes = {"base": 3,  # query: forward, two backward
                  "+ auxiliary": 6,  # and the same for the support
                  "+ tuning, first order": 7,  # and the inner input gradient
                  "+ tuning, second order": 9}[mode]  # and its derivative by input and weights
        return embeddings + passes * self.head
MODES = {  # name: steps, auxiliary, second order
    "base": (0, 0.0, False), "+ auxiliary": (0, 1.0, False),
    "+ tuning, first order": (1, 1.0, False), "+ tuning, second order": (1, 1.0, True)}


def matrix_rate(size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of a float32 product in this process, best of five."""
    a = tf.random.normal([size, size])
    product = tf.function(lambda x: tf.matmul(x, x))
    product(a)
    return 2 * size**3 / min(call_seconds(product, a) for _ in range(repeats))


def training_step(mode: str, backbone: str, channels: int) -> Callable:
    """A compiled segmenter's `train_step` as a graph function."""
    steps, auxiliary, second_order = MODES[mode]
    model = SSTSegmenter(
        model={"backbone": backbone, "channels": channels, "dropout": 0.0,
               "train_backbone": False, "comparator": "concatenate"},
        tuner={"steps": steps, "step_size": 0.1, "normalize": "relative",
               "second_order": second_order},
        loss={"auxiliary": auxiliary, "balanced": True})
    model.compile(optimizer=keras.optimizers.SGD(1e-4, momentum=0.9))
    return tf.function(model.train_step)


def call_seconds(function: Callable, argument: object) -> float:
    """Seconds of one call, its results brought to the host."""
    start = time.perf_counter()
    result = function(argument)
    tf.nest.map_structure(lambda t: t.numpy(), result)
    return time.perf_counter() - start


def measure(backbone: str, channels: int, image_size: int, batch: int, repeats: int
            ) -> tuple[Flops, float, dict[str, float]]:
    """Time `training_step` of each of `MODES` on cached features.

    Returns:
        The FLOPs of a photo, FLOP/s of a matrix product in this process, and the best of `repeats`
        rounds by mode, in seconds of a whole step.
    """
    side = (image_size - 1) // backbones.STRIDE + 1
    flops = Flops(side, backbones.CHANNELS[backbone], channels)
    rng = np.random.default_rng(0)
    features = tf.constant(rng.random((batch, side, side, flops.backbone_channels)), tf.float32)
    mask = np.zeros((batch, image_size, image_size), np.uint8)
    mask[:, 40:160, 60:200] = 1
    episode = {"support_features": features[:, None], "query_features": features[::-1],
               "support_mask": tf.constant(mask[:, None]), "query_mask": tf.constant(mask)}
    rate = matrix_rate()
    steps = {mode: training_step(mode, backbone, channels) for mode in MODES}
    for step in steps.values():
        step(episode)
    best = dict.fromkeys(steps, np.inf)
    for _ in range(repeats):  # in turn, so that a drift of the machine meets them all
        for mode, step in steps.items():
            best[mode] = min(best[mode], call_seconds(step, episode))
    return flops, rate, best
