# SPDX-License-Identifier: Apache-2.0
"""Train a prototype network of one's own on episodes: python examples/prototype_network.py

After PANet's idea: every query pixel takes the class of the nearest of two prototypes, the masked
averages of the support's foreground and background features. Any Keras model will do in its place.
"""

import argparse

import keras
import tensorflow as tf
from keras import layers

from pipelines import episodes


class PrototypeNetwork(keras.Model):
    """Foreground log-odds [B, S, S, 1] of the query; takes batched episodes of any shots."""

    def __init__(self, width=32, **kwargs):
        super().__init__(**kwargs)
        self.features = keras.Sequential(
            [layers.Rescaling(1 / 127.5, -1)]
            + [layer for strides, filters in ((2, width), (2, 2 * width), (2, 2 * width))
               for layer in (layers.Conv2D(filters, 3, strides, "same"),
                             layers.GroupNormalization(8), layers.ReLU())]
            + [layers.Conv2D(2 * width, 3, padding="same")])

    def call(self, episode):
        shape = tf.shape(episode["support_image"])  # [B, K, S, S, 3]
        images = tf.reshape(episode["support_image"], tf.concat([[-1], shape[2:]], 0))
        support, query = self.features(images), self.features(episode["query_image"])
        mask = tf.cast(episode["support_mask"] == 1, tf.float32)
        mask = tf.reshape(mask, [-1, shape[2], shape[3], 1])
        mask = tf.image.resize(mask, tf.shape(support)[1:3], "area")
        odds = 0.0
        for sign, share in ((1.0, mask), (-1.0, 1 - mask)):
            sums = [tf.reduce_sum(tf.reshape(x, [shape[0], -1, x.shape[-1]]), 1)
                    for x in (support * share, share)]
            prototype = tf.math.l2_normalize(sums[0] / (sums[1] + 1e-6), -1)  # [B, C]
            cosine = tf.einsum("bhwc,bc->bhw", tf.math.l2_normalize(query, -1), prototype)
            odds += sign * 20.0 * cosine
        return tf.image.resize(odds[..., None], shape[2:4])


def to_pair(episode):
    """(inputs, target, pixel weights) as `fit` takes them; 255 weighs nothing."""
    mask = episode["query_mask"]
    return episode, tf.cast(mask == 1, tf.float32)[..., None], tf.cast(mask != 255, tf.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="shapes", help='"shapes", "pascal5i" or "voc"')
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--image_size", type=int, default=97)
    options = parser.parse_args()
    common = {"root": options.root, "fold": 0, "image_size": options.image_size, "batch": 8}
    train = episodes(options.dataset, split="train", seed=0, **common)
    test = episodes(options.dataset, split="test", seed=1, count=200, **common)
    model = PrototypeNetwork()
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True),
                  weighted_metrics=[keras.metrics.BinaryIoU([1], threshold=0.0, name="iou")])
    model.fit(train.map(to_pair), steps_per_epoch=options.steps, epochs=1)
    print("unseen classes:", model.evaluate(test.map(to_pair), return_dict=True, verbose=0))


if __name__ == "__main__":
    main()
