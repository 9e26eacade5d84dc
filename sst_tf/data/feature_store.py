# SPDX-License-Identifier: Apache-2.0
"""A frozen backbone's features, computed once a photo and kept on disk."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import filelock
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipelines import photo_dataset
from pipelines.errors import DataError
from pipelines.reading.files import length_and_time
from pipelines.reading.transforms import RESIZE_METHOD
from pipelines.writing import naming, replacing
from sst_tf.config import Config
from sst_tf.data.run_data import RunData
from sst_tf.model.encoder import Encoder
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.alone import held

DTYPE = np.dtype(np.float16)  # half of the disk; what it costs is in docs/evaluation.md
BATCH = 4  # photos computed at once


class FeatureStore:
    """Backbone features of a data set's photos in an array on disk.

    The folder's name is a hash of the weights, the photos' ids, the sizes and times of their
    files, the data set, the photo size and how features are kept: other weights or photos never
    meet old features. Kill and start again at will, in as many processes as you like: one computes
    at a time, and a photo counts as done only once its features are written.

    Args:
        encoder: `sst_tf.model.encoder.Encoder` with the backbone frozen.
        source: `pipelines` source.
        image_size: side in pixels.
        directory: parent folder of the store.
        resize: "squash" or "pad".

    Attributes:
        shape: (h, w, C_b) of one photo's features.
    """

    def __init__(self, encoder: Encoder, source, image_size: int, directory: str | Path,
                 resize: str = "squash"):
        self.encoder, self.source, self.image_size = encoder, source, image_size
        self.resize = resize
        self.names = source.image_ids("all")
        self.position = {name: i for i, name in enumerate(self.names)}
        probe = np.zeros((1, image_size, image_size, 3), np.uint8)
        self.shape = tuple(encoder.features(probe).shape[1:])
        self.folder = Path(directory) / self._key()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self.folder / "lock")
        self._open: dict[int, _Rows] = {}  # by crop

    @property
    def done(self) -> np.ndarray:
        """Which rows of whole photos are there, mirrored ones behind the others."""
        return self._rows(0).done

    def ensure(self, names: Iterable[str], flipped: bool = False, crop: int = 0) -> None:
        """Compute what is missing for these photos, with a progress bar.

        Args:
            crop: which crop of each photo (`pipelines.reading.crops`); 0 is all of it.
        Raises:
            DataError: features that the store's type cannot hold.
        """
        names = list(dict.fromkeys(names))
        if not self._missing(names, flipped, crop):
            return
        with held(self._lock, self.folder, "computes backbone features"):
            self._compute(self._missing(names, flipped, crop), flipped, crop)

    def read(self, name: str, flipped: bool = False, crop: int = 0) -> np.ndarray:
        """[h, w, C_b] float32 of one photo or a crop of it; `ensure` it first."""
        rows, row = self._rows(crop), self._row(name, flipped)
        if not rows.done[row]:
            self.ensure([name], flipped, crop)
        return np.asarray(rows.window(row), np.float32)

    def _rows(self, crop):
        if crop not in self._open:
            self._open[crop] = _Rows(self.folder, f"_{crop}" if crop else "", 2 * len(self.names),
                                     self.shape, self._lock)
        return self._open[crop]

    def _missing(self, names, flipped, crop):
        done = self._rows(crop).done
        return [name for name in names if not done[self._row(name, flipped)]]

    def _compute(self, names, flipped, crop):
        if not names:
            return
        photos = photo_dataset(self.source, names, self.image_size, resize=self.resize, crop=crop)
        compute = tf.function(self.encoder.features, reduce_retracing=True, autograph=False)
        with tqdm(total=len(names), desc="backbone features", unit="photo") as bar:
            for photo in photos.batch(BATCH).prefetch(2):
                image = photo["image"][:, :, ::-1] if flipped else photo["image"]
                for name, values in zip(photo["name"].numpy(), compute(image).numpy(),
                                        strict=True):
                    self._write(name.decode(), flipped, crop, values)
                    bar.update()

    def _write(self, name, flipped, crop, values):
        most = np.abs(values).max()
        if not most <= np.finfo(DTYPE).max:  # NaN neither
            raise DataError(f"{self.source.name} photo {name}: the backbone's features reach "
                            f"{most:g}, the store keeps at most {np.finfo(DTYPE).max:g}; check "
                            "model.weights, or set train.cache_features to false")
        self._rows(crop).write(self._row(name, flipped), values)

    def _row(self, name, flipped):
        return self.position[name] + (len(self.names) if flipped else 0)

    def _files(self):
        """What the photos depend on, each path once; nothing of sources that keep no files."""
        files = getattr(self.source, "files", None)
        return dict.fromkeys(path for name in self.names for path in files(name)) if files else {}

    def _key(self):
        digest = hashlib.sha256()
        for variable in self.encoder.backbone.weights:
            digest.update(np.ascontiguousarray(variable.numpy()).data)
        digest.update(repr((self.encoder.backbone.name, self.image_size, self.source.name,
                            str(getattr(self.source, "root", "")), self.names)).encode())
        digest.update(f"{self.resize} {RESIZE_METHOD} {DTYPE.name}".encode())
        for path in self._files():
            if facts := length_and_time(path):
                digest.update("{} {} {}".format(path, *facts).encode())
        return digest.hexdigest()[:16]


def open_store(config: Config, model: SSTSegmenter, data: RunData) -> FeatureStore | None:
    """The `FeatureStore` of a frozen backbone; None where features are not kept."""
    if not config.train.cache_features:
        return None
    return FeatureStore(model.encoder, data.source, config.data.image_size,
                        config.train.cache_dir, config.data.resize)


class _Rows:
    """An array on disk, a photo a row, beside a mark for each row that is written."""

    def __init__(self, folder, suffix, rows, shape, lock):
        self.shape, self._size = shape, int(np.prod(shape)) * DTYPE.itemsize
        self.path, done = folder / f"features{suffix}.npy", folder / f"done{suffix}.npy"
        arrays = (self.path, (rows, *shape), DTYPE), (done, (rows,), np.dtype(np.uint8))
        if not all(_is(*one) for one in arrays):
            with lock:  # of two processes one creates
                if not all(_is(*one) for one in arrays):
                    for one in arrays:
                        _create(*one, sparse=one[0] == self.path)
        self._start = np.load(self.path, mmap_mode="r").offset
        self.done = np.load(done, mmap_mode="r+")

    def write(self, row, values):
        # A map would end the process where the disk is full.
        with naming(self.path), open(self.path, "r+b") as file:
            file.seek(self._start + row * self._size)
            file.write(np.asarray(values, DTYPE).tobytes())
        self.done[row] = 1  # only now

    def window(self, row):
        """One photo's features on disk; a map of the whole file would count as memory in use."""
        return np.memmap(self.path, DTYPE, "r", self._start + row * self._size, self.shape)


def _is(path, shape, dtype):
    """Is there a whole array of this shape and type? A kill or a full disk may leave half a one."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return array.shape == shape and array.dtype == dtype


def _create(path, shape, dtype, sparse):
    """A file of zeros; in a sparse one photos take room once they are written."""
    with replacing(path) as partial:
        if sparse:
            np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape).flush()
        else:  # it is mapped: its room must be there
            with open(partial, "wb") as file:
                np.save(file, np.zeros(shape, dtype))
