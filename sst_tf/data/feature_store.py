# SPDX-License-Identifier: Apache-2.0
"""A frozen backbone's features, computed once a photo and kept on disk."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipelines import photo_dataset
from pipelines.reading.transforms import RESIZE_METHOD


class FeatureStore:
    """Backbone features of a data set's photos in a memory-mapped array.

    The folder's name is a hash of the weights, the photo ids, the data set and the photo size:
    other weights or photos never meet old features. Kill and start again at will: a photo counts
    as done only once its features are written.

    Args:
        encoder: `sst_tf.model.encoder.Encoder` with the backbone frozen.
        source: `pipelines` source.
        image_size: side in pixels.
        directory: parent folder of the store.
        resize: "squash" or "pad".

    Attributes:
        shape: (h, w, C_b) of one photo's features, float32.
    """

    def __init__(self, encoder, source, image_size, directory, resize="squash"):
        self.encoder, self.source, self.image_size = encoder, source, image_size
        self.resize = resize
        self.names = source.image_ids("all")
        self.position = {name: i for i, name in enumerate(self.names)}
        probe = np.zeros((1, image_size, image_size, 3), np.uint8)
        self.shape = tuple(encoder.features(probe).shape[1:])
        self.folder = Path(directory) / self._key()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.array = self._open("features.npy", (2 * len(self.names), *self.shape), np.float32)
        self.done = self._open("done.npy", (2 * len(self.names),), np.uint8)

    def ensure(self, names, flipped=False):
        """Compute what is missing for these photos, with a progress bar."""
        missing = [n for n in dict.fromkeys(names) if not self.done[self._row(n, flipped)]]
        if not missing:
            return
        photos = photo_dataset(self.source, missing, self.image_size, resize=self.resize)
        compute = tf.function(self.encoder.features, reduce_retracing=True)
        with tqdm(total=len(missing), desc="backbone features", unit="photo") as bar:
            for photo in photos.batch(4).prefetch(2):
                image = photo["image"][:, :, ::-1] if flipped else photo["image"]
                values = compute(image).numpy()
                rows = [self._row(n.decode(), flipped) for n in photo["name"].numpy()]
                self.array[rows] = values
                self.done[rows] = 1
                bar.update(len(rows))
        self.array.flush()
        self.done.flush()

    def read(self, name, flipped=False):
        """[h, w, C_b] float32 of one photo; `ensure` it first."""
        row = self._row(name, flipped)
        if not self.done[row]:
            self.ensure([name], flipped)
        return np.asarray(self.array[row])

    def _row(self, name, flipped):
        return self.position[name] + (len(self.names) if flipped else 0)

    def _key(self):
        digest = hashlib.sha256()
        for variable in self.encoder.backbone.weights:
            digest.update(np.ascontiguousarray(variable.numpy()).data)
        digest.update(repr((self.encoder.backbone.name, self.image_size, self.source.name,
                            str(getattr(self.source, "root", "")), self.names)).encode())
        digest.update(f"{self.resize} {RESIZE_METHOD}".encode())
        return digest.hexdigest()[:16]

    def _open(self, name, shape, dtype):
        path = self.folder / name
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        # A sparse file of zeros: photos take room once they are written.
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def open_store(config, model, data):
    """The `FeatureStore` of a frozen backbone; None where features are not kept."""
    if not config.train.cache_features:
        return None
    return FeatureStore(model.encoder, data.source, config.data.image_size,
                        config.train.cache_dir, config.data.resize)
