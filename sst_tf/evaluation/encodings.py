# SPDX-License-Identifier: Apache-2.0
"""What a network sees of photos, in the order of use: each encoded once where memory allows."""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sst_tf.data.kept import Kept
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.scoring_options import PLAIN
from sst_tf.model.encoder import Encoder
from sst_tf.model.segmenter import SSTSegmenter


class Encoding(NamedTuple):
    """One photo in one view."""

    embedding: np.ndarray  # R [h, w, C]
    features: np.ndarray | None  # of the untrained backbone [h, w, C_b]; of the plain view alone

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.nbytes for part in self if part is not None)


class Encodings:
    """Encodings of a bank's photos, within the bank's memory.

    An evaluation goes through its photos twice: supports are tuned, then queries are answered.
    Either time a photo is encoded at most once and dropped after its last use; a support that is
    a query later is kept where there is room.

    Args:
        model: `SSTSegmenter`.
        bank: `PhotoBank`.
        batch: photos encoded together.
        untrained: the encoder whose backbone features the prototype baseline uses, or None. Where
            it is the model's own, one pass of the backbone serves both.
    """

    def __init__(self, model: SSTSegmenter, bank: PhotoBank, batch: int,
                 untrained: Encoder | None = None):
        self.model, self.bank, self.batch, self.untrained = model, bank, batch, untrained
        self._backbone = untrained and tf.function(
            untrained.features, reduce_retracing=True, autograph=False)
        self._kept = Kept(bank.limits["embeddings"])

    def beside(self, items: Sequence, photo_of: Callable[[Any], str], views: Sequence = (PLAIN,),
               again: Collection[str] = ()) -> Iterator[tuple[list[int], dict]]:
        """Items in chunks, ordered by the photo that each looks at, beside what it sees.

        Args:
            photo_of: an item's photo.
            again: photos to keep for another time.
        Yields:
            (positions of up to `batch` items, {photo: {view: `Encoding`}}).
        """
        place = {name: i for i, name in enumerate(dict.fromkeys(map(photo_of, items)))}
        order = sorted(range(len(items)), key=lambda i: place[photo_of(items[i])])
        again = set(again)
        streams = {view: self._of(list(place), view, again) for view in views}
        held: dict[str, dict] = {}
        for some in chunks(order, self.batch):
            names = dict.fromkeys(photo_of(items[i]) for i in some)
            held = {name: held.get(name) or {view: next(stream) for view, stream in streams.items()}
                    for name in names}
            yield some, held

    def _of(self, names, view, again):
        """`Encoding`s of distinct photos, in their order."""
        known = {name for name in names if view == PLAIN and name in self._kept}
        fresh = self._encode([name for name in names if name not in known], view)
        for name in names:
            one = self._kept.pop(name) if name in known else next(fresh)
            if name in again and view == PLAIN and self._kept.fits(one.size):
                copies = Encoding(*(part if part is None else part.copy() for part in one))
                self._kept.put(name, copies, one.size)  # a row alone would hold its whole batch
            yield one

    def _encode(self, names, view):
        scale, mirrored = view
        stored = self.bank.store is not None and scale == 1
        inputs = ((self.bank.store.read(name, mirrored) for name in names) if stored else
                  self.bank.photos(names))
        while some := list(itertools.islice(inputs, self.batch)):
            full = np.stack(filled(some, self.batch))
            embeddings, features = (self._stored(full) if stored else
                                    self._raw(self.bank.seen(full, view), view))
            for i in range(len(some)):
                yield Encoding(embeddings[i], None if features is None else features[i])

    def _stored(self, features):
        embeddings = self.model.inference.embed_features(tf.constant(features)).numpy()
        return embeddings, None if self.untrained is None else features

    def _raw(self, images, view):
        inference = self.model.inference
        if self.untrained is None or view != PLAIN:
            return inference.embed_photos(images).numpy(), None
        features = self._backbone(images)
        embeddings = (inference.embed_features(features) if self.untrained is self.model.encoder
                      else inference.embed_photos(images))
        return embeddings.numpy(), features.numpy()


def filled(items: Sequence, batch: int) -> list:
    """A last chunk filled up with its last item: a library may round otherwise in a smaller batch,
    and a photo's numbers must not depend on its company.
    """
    return [*items, *[items[-1]] * (batch - len(items))]


def chunks(items: Sequence, size: int) -> list[list]:
    """Lists of `size` items; the last may be shorter."""
    return [list(items[i:i + size]) for i in range(0, len(items), size)]
