# SPDX-License-Identifier: Apache-2.0
"""Decoding inside `tf.data`: a source's NumPy readers as graph functions."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.errors import DataError
from pipelines.reading.augment import Augment, aligned, augment
from pipelines.reading.crops import box
from pipelines.reading.transforms import CELL, mirror, resize_image, resize_mask
from pipelines.sampler import EpisodeSampler, draw
from pipelines.sources import Source
from pipelines.sources.joined import JoinedSource
from pipelines.sources.masks import way_mask


class Reader:
    """A source's readers, to be called on tensors.

    Args:
        source: a `pipelines.sources.Source`.
        features: a store with `.shape` (h, w, C) and `.read(name, flipped)`, and with a third
            argument of a crop.
        remote: the graph is not run in this process but by tf.data service workers, which know
            the functions by name (`pipelines.remote`).
    """

    def __init__(self, source: Source, features: Any = None, remote: bool = False) -> None:
        self.source, self.store, self.remote = source, features, remote
        side = getattr(source, "stored_size", None)
        self.shape = [side, side]  # of photos and masks, if all are of one

    def functions(self) -> dict[str, Callable]:
        """{name: function of arrays}; all that a graph of this reader calls."""
        return {f"{self.key}/{f.__name__.lstrip('_')}": f for f in (
            draw, self._photo, self._mask, self._view, self._merged, self._augmented,
            self._stored, self._index)}

    @property
    def key(self) -> str:
        """What the graph's functions are known by: the kind of source and its classes."""
        classes = hashlib.sha256("\n".join(self.source.classes).encode()).hexdigest()
        return f"pipelines/{self.source.name}-{classes[:8]}"

    def draw(self, number: tf.Tensor, sampler: EpisodeSampler) -> tf.Tensor:
        """Which class and photos episode `number` takes, [1 + 1 + shots] int64: `sampler.draw`."""
        drawn, = self._call(draw, [
            number, tf.cast(sampler.seed, tf.int64), tf.cast(sampler.counts, tf.int64),
            tf.cast(sampler.shots, tf.int64), tf.cast(sampler.power, tf.float64),
            tf.cast(sampler.absent, tf.float64), sampler.lacking], [tf.int64])
        return tf.ensure_shape(drawn, [sampler.shots + 2])

    def image(self, name: tf.Tensor, crop: int = 0) -> tf.Tensor:
        """uint8 [H, W, 3] of the photo `name` (scalar string tensor), or of a crop of it."""
        image, = self._call(self._photo, [name, crop], [tf.uint8])
        return tf.ensure_shape(image, [*self.shape, 3] if crop == 0 else [None, None, 3])

    def index_mask(self, name: tf.Tensor) -> tf.Tensor:
        """uint8 [H, W] of class numbers and 255 of the photo `name`."""
        mask, = self._call(self._index, [name], [tf.uint8])
        return tf.ensure_shape(mask, self.shape)

    def class_mask(self, name: tf.Tensor, class_id: tf.Tensor, ignore_ids: Collection[int] = (),
                   support: bool = False) -> tf.Tensor:
        """uint8 [H, W] of 0, 1, 255: one class in the photo; as a support it must show it."""
        mask, = self._call(self._mask, [name, class_id, _ids(ignore_ids), support], [tf.uint8])
        return tf.ensure_shape(mask, self.shape)

    def view_mask(self, name: tf.Tensor, class_id: tf.Tensor, crop: tf.Tensor,
                  ignore_ids: Collection[int] = (), support: bool = False
                  ) -> tuple[tf.Tensor, tf.Tensor]:
        """`class_mask` of crop `crop`, and the crop: 0 where the one asked for loses the class."""
        mask, shown = self._call(self._view, [name, class_id, crop, _ids(ignore_ids), support],
                                 [tf.uint8, tf.int64])
        return tf.ensure_shape(mask, [None, None]), tf.ensure_shape(shown, [])

    def way_mask(self, name: tf.Tensor, class_ids: tf.Tensor, ignore_ids: Collection[int] = ()
                 ) -> tf.Tensor:
        """uint8 [H, W]: i + 1 where `class_ids[i]` is, 255 void, else 0."""
        mask, = self._call(self._merged, [name, class_ids, _ids(ignore_ids)], [tf.uint8])
        return tf.ensure_shape(mask, self.shape)

    def augmented(self, episode: dict[str, tf.Tensor], ignore_ids: Collection[int], size: int,
                  numbers: tf.Tensor, flip: bool, how: Augment, resize: str) -> list[tf.Tensor]:
        """An episode's pictures in one call: `augment.augment` for each photo.

        Args:
            episode: names and class ids of k supports and a query.
            numbers: uniform ones of `augment.draw`, [k + 1, NUMBERS].
            flip: mirror each photo by half the chance.

        Returns:
            support images [k, S, S, 3] and masks [k, S, S], query image and mask, uint8; height
            and width of the query's photo, int32 [2].
        """
        return self._pictures(self._augmented, episode, ignore_ids, size, numbers, flip,
                              np.array([*how.scale, how.rotation, how.blur]), how.query, resize)

    def stored(self, episode: dict[str, tf.Tensor], ignore_ids: Collection[int], size: int,
               flipped: tf.Tensor) -> list[tf.Tensor]:
        """As `augmented`, of a source whose photos are kept at `size`: mirrored at most.

        Args:
            flipped: which photos are mirrored, the query last, bool [k + 1].
        """
        return self._pictures(self._stored, episode, ignore_ids, size, flipped)

    def _pictures(self, function, episode, ignore_ids, size, *more):
        """One call for all pictures of an episode: Python's lock is taken once."""
        shots = episode["support_name"].shape[0]
        loaded = self._call(
            function, [episode["support_name"], episode["support_class_id"], episode["query_name"],
                       episode["class_id"], _ids(ignore_ids), size, *more],
            [tf.uint8] * 4 + [tf.int32])
        shapes = ([shots, size, size, 3], [shots, size, size], [size, size, 3], [size, size], [2])
        return [tf.ensure_shape(t, shape) for t, shape in zip(loaded, shapes, strict=True)]

    def features(self, name: tf.Tensor, flipped: tf.Tensor, crop: tf.Tensor | None = None
                 ) -> tf.Tensor:
        """float32 [h, w, C] of the photo `name`, or of a crop of it, from the feature store."""
        def read(n, f, *c):  # a store without crops takes no number
            return np.ascontiguousarray(self.store.read(n.decode(), bool(f), *map(int, c)),
                                        np.float32)

        inputs = [name, flipped] + ([] if crop is None else [crop])
        return tf.ensure_shape(tf.numpy_function(read, inputs, tf.float32), self.store.shape)

    def _call(self, function, inputs, types):
        inputs = [tf.convert_to_tensor(value) for value in inputs]
        if self.remote:
            token = f"{self.key}/{function.__name__.lstrip('_')}"
            return tf.raw_ops.PyFunc(input=inputs, token=token, Tout=types)
        return tf.numpy_function(function, inputs, types)

    def _photo(self, name, crop=0):
        image = self.source.read_image(name.decode())
        return image[box(name.decode(), int(crop), *image.shape[:2])]

    def _index(self, name):
        return self.source.read_mask(name.decode())

    def _mask(self, name, class_id, ignore_ids, support):
        mask = self.source.class_mask(name.decode(), int(class_id), tuple(map(int, ignore_ids)))
        if support and not (mask == 1).any():
            raise DataError(f"photo {name.decode()}: its mask holds no pixel of class "
                            f"{self.source.classes[class_id - 1]}, so it cannot be a support; "
                            "build the episodes from the current masks")
        return mask

    def _view(self, name, class_id, crop, ignore_ids, support):
        mask = self._mask(name, class_id, ignore_ids, support)
        shown = mask[box(name.decode(), int(crop), *mask.shape)]
        if crop and (mask == 1).any() and not (shown == 1).any():
            crop, shown = 0, mask
        return np.ascontiguousarray(shown), np.int64(crop)

    def _merged(self, name, class_ids, ignore_ids):
        return way_mask(self.source, name.decode(), class_ids, ignore_ids)

    def _augmented(self, support, support_class, query, query_class, ignore_ids, size, numbers,
                   flip, how, both, resize):
        size, resize = int(size), resize.decode()
        how = Augment(tuple(how[:2]), *how[2:])

        def show(k, photo, mask, into):
            augment(photo, mask, size, numbers[k], flip,
                    how if both or k < len(support) else Augment(), resize, into)

        return self._shown(support, support_class, query, query_class, ignore_ids, size, show)

    def _stored(self, support, support_class, query, query_class, ignore_ids, size, flipped):
        def show(k, photo, mask, into):
            step = -1 if flipped[k] else 1
            into[0][:], into[1][:] = photo[:, ::step], mask[:, ::step]

        return self._shown(support, support_class, query, query_class, ignore_ids, size, show)

    def _shown(self, support, support_class, query, query_class, ignore_ids, size, show):
        """What `augmented` returns; `show` fills the arrays of a photo, the query's last."""
        images, masks = aligned((len(support), size, size, 3)), aligned((len(support), size, size))
        for k, name in enumerate(support):
            show(k, self._photo(name), self._mask(name, support_class, ignore_ids, True),
                 (images[k], masks[k]))
        image, mask = aligned((size, size, 3)), aligned((size, size))
        whole = self._mask(query, query_class, ignore_ids, False)
        show(len(support), self._photo(query), whole, (image, mask))
        return images, masks, image, mask, np.int32(whole.shape)


def check_size(source: Source, image_size: int, resize: str, whole: bool = False) -> None:
    """DataError for a size that cannot be, or where a source, or a part of it, keeps its photos
    in another way.

    Args:
        whole: masks are wanted at the photos' own size too.
    """
    if resize == "pad" and image_size < CELL:
        raise DataError(f"image_size {image_size}: padded photos have sides of multiples of "
                        f"{CELL}; {CELL} or more is expected")
    if isinstance(source, JoinedSource):
        for part in source.parts.values():
            check_size(part.source, image_size, resize, whole)
        return
    stored = getattr(source, "stored_size", None)
    if stored is None:
        return
    if stored != image_size or resize != "squash":
        raise DataError(f"{getattr(source, 'root', '')}: records of photos squashed to {stored} x "
                        f"{stored}; {resize} to {image_size} was asked for: prepare records of "
                        "that size, or read the photos themselves")
    if whole:
        raise DataError("full_mask: records hold masks at training size alone; read the photos "
                        "themselves to score at their own size")


def _ids(class_ids):
    return np.array(sorted(class_ids), np.int32)


def photo_dataset(source: Source, names: Iterable[str], image_size: int, parallel_calls: int = 4,
                  masks: bool = False, flipped: Sequence[bool] | np.ndarray | None = None,
                  features: Any = None, resize: str = "squash", crop: int = 0) -> tf.data.Dataset:
    """Photos in the order of `names`.

    Args:
        masks: yield index masks too.
        flipped: which photos are mirrored, with their masks, [N] bool; none unless given.
        features: a store as in `episode_dataset`, whose features stand in the photos' place.
        resize: "squash" or "pad".
        crop: of raw photos without masks, which of their crops (`crops.box`); 0 is all of it.

    Yields:
        {"name": [], "image": [S, S, 3] uint8 (or "features": [h, w, C] float32)} and "mask":
        [S, S] uint8 if asked for.
    """
    check_size(source, image_size, resize)
    reader = Reader(source, features)

    @tf.autograph.experimental.do_not_convert  # no branch depends on a tensor's value
    def load(name, flip):
        photo = {"name": name}
        if features is not None:
            photo["features"] = reader.features(name, flip)
        else:
            image = resize_image(reader.image(name, crop), image_size, resize)
            photo["image"] = mirror(tf.ensure_shape(image, [image_size, image_size, 3]), flip)
        if masks:
            mask = resize_mask(reader.index_mask(name), image_size, resize)
            photo["mask"] = mirror(tf.ensure_shape(mask, [image_size, image_size]), flip)
        return photo

    names = list(names)
    flipped = np.zeros(len(names), bool) if flipped is None else np.asarray(flipped, bool)
    photos = tf.data.Dataset.from_tensor_slices((tf.constant(names, tf.string), flipped))
    return photos.map(load, parallel_calls, deterministic=True)
