# SPDX-License-Identifier: Apache-2.0
"""Photos of some episodes: raw or as stored features, and masks; kept within a bound."""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from pipelines import photo_dataset
from pipelines.reading.transforms import resize_class_mask, restore
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.kept import Kept
from sst_tf.data.scoring_options import ScoringOptions

READ = 8  # photos that are read together, ahead of use
SHARES = {"embeddings": 12 / 16, "photos": 3 / 16, "masks": 1 / 16}  # of the memory


class PhotoBank:
    """Photos of some episodes: raw or as stored features, and masks.

    Args:
        source: `pipelines` source.
        episodes: what will be scored, `pipelines.Episode`s or `WayEpisode`s.
        image_size: side in pixels that the network sees.
        options: `ScoringOptions`, how they are asked and counted.
        features: a `FeatureStore`, or None for a bank that reads the raw photos instead.
        resize: "squash" or "pad".
        memory: gigabytes that raw photos, masks and what is scored with them may keep; what does
            not fit is read or computed again. Answers do not depend on it.

    Attributes:
        limits: bytes of "embeddings", "photos" and "masks".
    """

    def __init__(self, source, episodes: list, image_size: int, options: ScoringOptions,
                 features: FeatureStore | None = None, resize: str = "squash",
                 memory: float = 2.0):
        self.names = photos_of(episodes)
        self.size = (image_size, image_size)
        self.source, self.store, self.resize = source, features, resize
        self.options = options
        self.limits = {kind: share * memory * 1e9 for kind, share in SHARES.items()}
        self._photos, self._masks = Kept(self.limits["photos"]), Kept(self.limits["masks"])
        if features is not None:
            for mirrored in sorted({False, *(m for scale, m in self.options.views if scale == 1)}):
                features.ensure(self.names, mirrored)

    def photos(self, names: Iterable[str]) -> Iterator[np.ndarray]:
        """Raw photos uint8 [S, S, 3] in the order of distinct names, read ahead of use."""
        names = list(names)
        missing = [name for name in names if name not in self._photos]
        read, absent = self._read(missing), set(missing)
        for name in names:
            image = next(read) if name in absent else self._photos.get(name)
            if self._photos.fits(image.nbytes):
                self._photos.put(name, image.copy(), image.nbytes)
            yield image

    def _read(self, names):
        if names:
            photos = photo_dataset(self.source, names, self.size[0], resize=self.resize)
            for batch in photos.batch(READ).prefetch(2):
                yield from batch["image"].numpy()

    def seen(self, images: np.ndarray, view: tuple) -> np.ndarray:
        """uint8 [N, S, S, 3] scaled and mirrored as a view says."""
        scale, mirrored = view
        if scale != 1:
            side = max(33, round(self.size[0] * scale))
            scaled = tf.image.resize(images, (side, side), "bilinear")
            images = tf.cast(tf.round(scaled), tf.uint8).numpy()
        return images[:, :, ::-1] if mirrored else images

    def mask(self, name: str, class_id: int, void: str = "ignored") -> np.ndarray:
        """T [S, S] uint8 of 0, 1, 255 for one class in one photo."""
        key = (name, class_id, void)
        mask = self._masks.get(key)
        if mask is None:
            own = self._own(name, class_id, void)
            mask = np.asarray(resize_class_mask(own, self.size[0], self.resize))
            self._masks.put(key, mask, mask.nbytes)
        return mask

    def _own(self, name, class_id, void):
        mask = self.source.class_mask(name, class_id, self.options.ignore_ids)
        return np.where(mask == 255, 0, mask).astype(np.uint8) if void == "background" else mask

    def support_mask(self, name: str, class_id: int) -> np.ndarray:
        """The mask that a support is tuned with."""
        return self.mask(name, class_id, self.options.void_support)

    def judge(self, probability: np.ndarray, name: str,
              class_id: int) -> tuple[np.ndarray, np.ndarray]:
        """An answer [S, S] and the truth it is held against, at the size that counts."""
        if self.options.scoring == "network":
            return probability, self.mask(name, class_id, self.options.void_query)
        truth = self._own(name, class_id, self.options.void_query)
        return restore(tf.constant(probability), truth.shape, self.resize).numpy(), truth


def open_bank(config: Config, source, episodes: list, options: ScoringOptions,
              store: FeatureStore | None = None) -> PhotoBank:
    """The `PhotoBank` of episodes under a configuration; each process has its share of memory."""
    settings = config.evaluate
    return PhotoBank(source, episodes, config.data.image_size, options, store, config.data.resize,
                     settings.memory / settings.processes)


def photos_of(episodes: list) -> list[str]:
    """Names of the photos that episodes show, each once, in order."""
    names: dict[str, None] = {}
    for episode in episodes:
        names[episode.query] = None
        for one in episode.support:  # a name, or of several ways the names of each
            names |= dict.fromkeys([one] if isinstance(one, str) else one)
    return list(names)
