# SPDX-License-Identifier: Apache-2.0
"""Siamese encoder f_e (Eq. 2, 3): raw uint8 RGB in, embedded features at stride 8 out."""

import keras
import tensorflow as tf

from pipelines.errors import UserError
from sst_tf.model import backbones, weights
from sst_tf.model.layers import Conv2D


class Encoder(keras.layers.Layer):
    """f_e (Eq. 2, 3): a backbone and a trainable embedding with ReLU, the same for every photo.

    Args:
        backbone: "resnet50", "vgg16", "resnet18" or "small".
        channels: C, of the embedding.
        train_backbone: False keeps the backbone fixed, batch norm by its stored statistics.
        signed: leave out the ReLU, for methods that compare directions.
        kernel: side of the embedding's kernel in cells.

    Shapes: [B, H, W, 3] uint8 -> [B, h, w, C] float32 with h = ceil(H / 8).
    """

    def __init__(self, backbone: str, channels: int, train_backbone: bool = False,
                 signed: bool = False, kernel: int = 3, **kwargs):
        super().__init__(**kwargs)
        if backbone not in backbones.BACKBONES:
            raise UserError(f"model.backbone: no backbone {backbone!r}; known: "
                            f"{', '.join(backbones.BACKBONES)}")
        self.backbone = backbones.BACKBONES[backbone]()
        self.backbone.trainable = train_backbone
        self.train_backbone = train_backbone
        self.embedding = Conv2D(channels, kernel, activation=None if signed else "relu",
                                name="embedding")
        self.embedding.build((None, None, None, backbones.CHANNELS[backbone]))

    def load(self, source: str) -> None:
        """Load backbone weights: "imagenet", "none" or a path (`sst_tf.model.weights.load`)."""
        weights.load(self.backbone, source)

    def features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Backbone features [B, h, w, C_b] float32, what a cache may hold when it is frozen."""
        training = bool(training) and self.train_backbone
        features = tf.cast(self.backbone(images, training=training), tf.float32)
        return features if self.train_backbone else tf.stop_gradient(features)

    def embed(self, features: tf.Tensor) -> tf.Tensor:
        """R_q or R_s: [B, h, w, C_b] -> [B, h, w, C]."""
        return self.embedding(features)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """R_q or R_s of raw photos (Eq. 2, 3)."""
        return self.embed(self.features(images, training))
