# SPDX-License-Identifier: Apache-2.0
"""Random numbers of training, drawn for the whole batch wherever its parts are."""

import keras
import tensorflow as tf
from keras import layers


def uniform(shape, generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Numbers from 0 to 1 of a shape [B, ...].

    Devices that share a batch have one generator state: each draws for all and takes its own
    rows, so that together they draw what one device would.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return keras.random.uniform(shape, seed=generator)
    rows, *rest = shape
    whole = keras.random.uniform((rows * context.num_replicas_in_sync, *rest), seed=generator)
    return whole[rows * context.replica_id_in_sync_group:][:rows]


class Dropout(layers.Dropout):
    """Keras' dropout by `uniform`."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs of any shape [B, ...], of which training leaves 1 - rate."""
        if not training or self.rate == 0:
            return inputs
        kept = uniform(tf.unstack(tf.shape(inputs)), self.seed_generator) >= self.rate
        return inputs * tf.cast(kept, inputs.dtype) / (1 - self.rate)
