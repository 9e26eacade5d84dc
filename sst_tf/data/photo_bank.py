# SPDX-License-Identifier: Apache-2.0
"""Photos of some episodes: masks and backbone features, each read once."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines import photo_dataset
from pipelines.reading.transforms import resize_class_mask, restore

PLAIN = (1.0, False)


@dataclass(frozen=True)
class ScoringOptions:
    """How answers are made and counted.

    Attributes:
        views: (scale, mirrored) of the query; the probabilities of all are averaged.
        scoring: IoU at the "network"'s size or at the photo's "original" one.
        void_query, void_support: pixels of 255 are "ignored" or count as "background".
        fusion: of K > 1 shots, "weighted", "average" or "maximum".
    """

    views: tuple = (PLAIN,)
    scoring: str = "network"
    void_query: str = "ignored"
    void_support: str = "ignored"
    fusion: str = "weighted"


class PhotoBank:
    """Photos of some episodes: masks and backbone features, each read once.

    Args:
        source: `pipelines` source.
        episodes: what will be scored, `pipelines.Episode`s or `WayEpisode`s.
        image_size: side in pixels that the network sees.
        features: a `FeatureStore`, or None for a bank that keeps the raw photos instead.
        resize: "squash" or "pad".
        options: `ScoringOptions`.
    """

    def __init__(self, source, episodes, image_size, features=None, resize="squash", options=None):
        self.names = photos_of(episodes)
        self.row = {name: i for i, name in enumerate(self.names)}
        self.size = (image_size, image_size)
        self.source, self.store, self.resize = source, features, resize
        self.options = options or ScoringOptions()
        if features is not None:
            for mirrored in sorted({False, *(m for scale, m in self.options.views if scale == 1)}):
                features.ensure(self.names, mirrored)
        self._images = None if features is not None else self._read_photos()
        self._masks = {}

    def _read_photos(self):
        photos = photo_dataset(self.source, self.names, self.size[0], resize=self.resize)
        return np.concatenate([p["image"].numpy() for p in photos.batch(8).prefetch(2)])

    def images(self, rows, view=PLAIN):
        """uint8 [N, S', S', 3] of photos by row, scaled and mirrored as a view says."""
        if self._images is None:
            self._images = self._read_photos()
        scale, mirrored = view
        images = self._images[list(rows)]
        if scale != 1:
            side = max(33, round(self.size[0] * scale))
            scaled = tf.image.resize(images, (side, side), "bilinear")
            images = tf.cast(tf.round(scaled), tf.uint8).numpy()
        return images[:, :, ::-1] if mirrored else images

    def features(self, encoder, rows, mirrored=False):
        """Backbone features [N, h, w, C_b] of photos by row."""
        if self.store is not None:
            return tf.constant(np.stack([self.store.read(self.names[r], mirrored) for r in rows]))
        return encoder.features(self.images(rows, (1.0, mirrored)))

    def embed(self, model, rows, view=PLAIN):
        """R [N, h, w, C] of photos by row."""
        if self.store is None or view[0] != 1:
            return model.inference.embed_photos(self.images(rows, view))
        return model.inference.embed_features(self.features(model.encoder, rows, view[1]))

    def mask(self, name, class_id, void="ignored"):
        """T [S, S] uint8 of 0, 1, 255 for one class in one photo."""
        key = (name, class_id, void)
        if key not in self._masks:
            mask = self._own(name, class_id, void)
            self._masks[key] = np.asarray(resize_class_mask(mask, self.size[0], self.resize))
        return self._masks[key]

    def _own(self, name, class_id, void):
        mask = self.source.class_mask(name, class_id)
        return np.where(mask == 255, 0, mask).astype(np.uint8) if void == "background" else mask

    def support_mask(self, name, class_id):
        """The mask that a support is tuned with."""
        return self.mask(name, class_id, self.options.void_support)

    def judge(self, probability, name, class_id):
        """An answer [S, S] and the truth it is held against, at the size that counts."""
        if self.options.scoring == "network":
            return probability, self.mask(name, class_id, self.options.void_query)
        truth = self._own(name, class_id, self.options.void_query)
        return restore(tf.constant(probability), truth.shape, self.resize).numpy(), truth


def photos_of(episodes):
    """Names of the photos that episodes show, each once, in order."""
    names = {}
    for episode in episodes:
        names[episode.query] = None
        for one in episode.support:  # a name, or of several ways the names of each
            names |= dict.fromkeys([one] if isinstance(one, str) else one)
    return list(names)
