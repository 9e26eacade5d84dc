# SPDX-License-Identifier: Apache-2.0
"""`Predictor`: tune a class to marked photos, find it in others; any size in, that size out."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.errors import DataError, UserError
from pipelines.reading.photos import Photo, load_photo
from pipelines.reading.transforms import framed_size, resize_class_mask, resize_image, restore
from sst_tf.config import Config
from sst_tf.evaluation import presence
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.photos import annotations, teaching
from sst_tf.photos.class_card import ClassCard, unwritable
from sst_tf.photos.images import thumbnail
from sst_tf.photos.tiles import cut, merge
from sst_tf.presets.preset import Preset, is_run
from sst_tf.runs.directory import Run

PHOTOS = 32  # encoded at once
MOST_CLASSES = 254  # of an index map, whose 255 is void
ROWS = 64  # photos times classes that go through the head at once: bounds the memory


@dataclass(frozen=True)
class Prediction:
    """One class in one photo.

    Attributes:
        name: of the class.
        mask: uint8 [H, W] of 0 and 1 at the photo's own size; empty where `present` is False.
        probability: float32 [H, W] at that size.
        score: how sure the model is that the class is there, 0..1 (`sst_tf.evaluation.presence`).
        present: score >= the threshold that base classes set.
    """

    name: str
    mask: np.ndarray
    probability: np.ndarray
    score: float
    present: bool


@dataclass(frozen=True)
class Scene:
    """All tuned classes in one photo.

    Attributes:
        index: uint8 [H, W]; 0 background, i the i-th of `predictions`.
        predictions: `Prediction`s by class, in the order of `set_support`, or of the `names` asked
            for.
    """

    index: np.ndarray
    predictions: dict


class Predictor:
    """Segments classes that it was shown.

    Args:
        config: `sst_tf.config.Config` that the model was trained with.
        model: the trained `SSTSegmenter`.
        model_sha256: what class cards know the model by.
        operating_point: says `threshold(shots)` and `presence_threshold(shots)`.
        empty: allow the empty answer where a class seems absent.
        tiles: 2 or more for small objects in large photos: each photo is looked at as a whole and
            in overlapping crops, so many side by side; the answer is the geometric mean of the two
            probabilities. The encoder passes of a photo grow to 1 + (2 * tiles - 1)^2.

    Attributes:
        cards: {name: `ClassCard`} of the classes that it was shown.
    """

    def __init__(self, config: Config, model: SSTSegmenter, model_sha256: str,
                 operating_point: OperatingPoint | Preset, empty: bool = True, tiles: int = 1):
        self.config, self.model, self.model_sha256 = config, model, model_sha256
        self.operating_point, self.empty, self.tiles = operating_point, empty, tiles
        self.cards: dict[str, ClassCard] = {}

    @classmethod
    def from_run(cls, run_dir: str | Path, empty: bool = True, tiles: int = 1) -> "Predictor":
        """Of a run directory as `sst_tf.train` leaves it."""
        run = Run.open(run_dir)
        return cls(run.config(), run.model(), run.model_sha256(), OperatingPoint(run), empty,
                   tiles)

    @classmethod
    def from_preset(cls, name: str | Path, weights: str | Path | None = None,
                    empty: bool = True, tiles: int = 1) -> "Predictor":
        """Of a preset: a small file that comes with the package, and backbone weights of yours.

        Args:
            name: one of `presets()`, or the path of a preset's file or of a run directory.
            weights: file of the backbone's weights; without it they are looked for as
                docs/weights.md says. A run has its own.
        Raises:
            UserError: no such preset, no weights (which file goes where), or other weights.
        """
        if is_run(name):
            if weights is not None:
                raise UserError(f"{name}: a run has its backbone; expected no weights beside it")
            return cls.from_run(name, empty, tiles)
        preset = Preset.load(name)
        return cls(preset.config(), preset.model(weights), preset.sha256, preset, empty, tiles)

    # ---- tuning -----------------------------------------------------------------------------

    def set_support(self, images, masks, name: str = "object") -> ClassCard:
        """Tune a class to K marked photos; a class of that name is replaced.

        Args:
            images: photos (paths or uint8 arrays [H, W, 3] RGB), or a single one.
            masks: as many marks: mask arrays or files, `annotations.Box`, `Scribbles`, `Polygon`,
                `Shapes`, or annotation files (`sst_tf.photos.formats`); a single one for a single
                photo.
        Returns:
            The `ClassCard`.
        Raises:
            DataError: naming the photo or the mark.
        """
        if unwritable(name):
            raise DataError(f"class {name!r}: has control characters; choose another name")
        images, masks = _list(images), _list(masks)
        if not images or len(images) != len(masks):
            raise DataError(f"class {name}: {len(images)} photos and {len(masks)} masks; one mask "
                            "a photo is expected")
        tuned, how, picture, shown = [], [], b"", []
        for number, (photo, mark) in enumerate(zip(images, masks, strict=True)):
            image = load_photo(photo)
            mask, made = annotations.mask_of(
                mark, image, _what(photo, mark, name, number),
                photo if isinstance(photo, (str, Path)) else None, name)
            how.append(made)
            picture = picture or thumbnail(image, mask)
            shown.append((self._embed([image]), resize_class_mask(mask, *self._frame())[None]))
            tuned.append(self.model.inference.tune(*shown[-1]))

        def stacked(field: str) -> np.ndarray:
            return np.concatenate([getattr(one, field).numpy() for one in tuned])

        features, small = zip(*shown, strict=True)
        self.cards[name] = ClassCard(
            name, stacked("prototype"), stacked("untuned_prototype"), stacked("score"),
            stacked("score_after"), picture, tuple(how), self.model_sha256,
            teaching.found_by_others(self.model.inference, features, small, tuned,
                                     self.threshold(len(tuned) - 1 or 1),
                                     *self.config.model.answering),
            np.array([teaching.cells_of(mask, one) for one, mask in shown], np.float32))
        return self.cards[name]

    def step_map(self, photo: Photo, mask: np.ndarray) -> np.ndarray:
        """How far tuning moves each place of a marked photo, float32 [H, W] at its own size.

        Args:
            photo: path or uint8 array [H, W, 3] RGB.
            mask: [H, W] of 0, 1, 255.
        """
        image = load_photo(photo)
        own = self.model.inference.self_segment(self._embed([image]),
                                                resize_class_mask(mask, *self._frame())[None])
        return restore(own.step[0], image.shape[:2], self.config.data.resize).numpy()

    def add_card(self, card: ClassCard | str | Path) -> ClassCard:
        """Take a `ClassCard`, or the path of one; returns it."""
        if not isinstance(card, ClassCard):
            card = ClassCard.load(card, self.model_sha256)
        elif card.model_sha256 != self.model_sha256:
            raise DataError(f"class {card.name!r} was tuned for another model")
        self.cards[card.name] = card
        return card

    # ---- answering --------------------------------------------------------------------------

    def predict(self, query: Photo, name: str | None = None) -> Prediction:
        """One class in a photo.

        Args:
            query: path or uint8 array [H, W, 3] RGB.
            name: which class; may be left out where there is one.
        Returns:
            `Prediction`.
        """
        names = [name] if name else list(self.cards)
        if len(names) > 1:
            raise UserError(f"name one of the classes: {', '.join(names)}")
        return next(iter(self.predict_all([query], names)[0].predictions.values()))

    def predict_all(self, queries: Photo | Sequence[Photo], names: Sequence[str] | None = None,
                    tuned: bool = True) -> list[Scene]:
        """All classes (or `names`) in several photos, one encoder pass a photo.

        Where classes overlap a pixel goes to the one of highest probability; it is background
        where no class reaches its threshold.

        Args:
            queries: paths, or uint8 arrays [H, W, 3] RGB; or a single one.
            tuned: False leaves the step out, for a comparison.
        Returns:
            [`Scene`], in order. Each holds 5 bytes a pixel and class: `each_scene` gives them one
            at a time.
        """
        return list(self.each_scene(queries, names, tuned))

    def each_scene(self, queries: Photo | Sequence[Photo], names: Sequence[str] | None = None,
                   tuned: bool = True) -> Iterator[Scene]:
        """`predict_all` for who needs no scene once the next one comes; the same arguments."""
        unknown = set(names or ()) - set(self.cards)
        if unknown or not self.cards:
            raise UserError(f"no class card of: {', '.join(sorted(unknown)) or 'any class'}; "
                            "set_support comes first")
        cards = [self.cards[name] for name in names or self.cards]
        if len(cards) > MOST_CLASSES:
            raise UserError(f"{len(cards)} classes: an index map holds {MOST_CLASSES}; ask for "
                            "some at a time, by their names")
        photos = _photos(queries)
        parts = (photos[start:start + PHOTOS] for start in range(0, len(photos), PHOTOS))
        return itertools.chain.from_iterable(
            self._scenes([load_photo(photo) for photo in part], cards, tuned) for part in parts)

    def _scenes(self, images, cards, tuned):
        """`Scene`s of as many photos as are encoded together."""
        features = self._embed(images)
        answers = {}
        for group, shots, maps in self._maps(cards, features, tuned):
            alike = self.model.inference.agreement_many(features, maps, shots).numpy()
            answers |= {card.name: (maps[:, i].numpy(), alike[:, i])
                        for i, card in enumerate(group)}
        # Of files of the run: once a call, not once a photo.
        points = [(self.threshold(card.shots),
                   self.presence_threshold(card.shots) if self.empty else 0.0) for card in cards]
        for i, image in enumerate(images):
            size = image.shape[:2]
            found = [answers[card.name] for card in cards]
            rows, columns = framed_size(*size, *self._frame())  # the rest is padding
            maps = [restore(one[i], size, self.config.data.resize).numpy() for one, _ in found]
            if self.tiles > 1:
                crops = self._crops(cards, image, tuned)
                maps = [np.sqrt(whole * crops[card.name])
                        for card, whole in zip(cards, maps, strict=True)]
            yield self._scene(cards, points, maps, [
                presence.score_map(one[i, :rows, :columns], alike[i]) for one, alike in found])
            del maps  # of the photo's size: the next one's come while these are held

    def threshold(self, shots: int) -> float:
        """Probability from which a pixel is foreground: the operating point for k shots."""
        return self.operating_point.threshold(shots)

    def presence_threshold(self, shots: int) -> float:
        """Score from which a class counts as present; 0 where none was chosen."""
        return self.operating_point.presence_threshold(shots)

    # ---- parts ------------------------------------------------------------------------------

    def _frame(self):
        return self.config.data.image_size, self.config.data.resize

    def _embed(self, images):
        return self.model.inference.embed_photos(tf.stack([
            resize_image(image, *self._frame()) for image in images]))

    def _maps(self, cards, features, tuned):
        """Yields N cards, their prototypes [B, N, K, D], probabilities at network size [B, N, S, S]
        """
        rows, side = features.shape[0], self.config.data.image_size
        for group in _together(cards, max(1, ROWS // rows)):
            shots, scores = (np.repeat(np.stack(values)[None], rows, 0) for values in (
                [card.prototype if tuned else card.untuned for card in group],
                [card.score for card in group]))
            yield group, shots, self.model.inference.segment_many(
                features, shots, scores, (side, side), *self.config.model.answering)

    def _crops(self, cards, image, tuned):
        """{card's name: probabilities [H, W]} of a photo by its crops."""
        side, resize = self._frame()
        features = self.model.inference.embed_photos(cut(image, side, self.tiles, resize))
        return {card.name: restore(merge(maps[:, i].numpy(), self.tiles), image.shape[:2],
                                   resize).numpy()
                for group, _, maps in self._maps(cards, features, tuned)
                for i, card in enumerate(group)}

    def _scene(self, cards, points, maps, scores):
        index, best = (np.zeros(maps[0].shape, kind) for kind in (np.uint8, np.float32))
        predictions = {}
        for number, (card, (threshold, presence_from), full, score) in enumerate(
                zip(cards, points, maps, scores, strict=True), start=1):
            there = not self.empty or score >= presence_from
            mask = (full >= threshold) & there
            predictions[card.name] = Prediction(card.name, mask.astype(np.uint8), full, score,
                                                there)
            wins = mask & (full > best)
            index[wins], best[wins] = number, full[wins]
        return Scene(index, predictions)


def _together(cards, most):
    """Cards of as many shots, at most so many at once."""
    by_shots = {}
    for card in cards:
        by_shots.setdefault(card.shots, []).append(card)
    return [group[i:i + most] for group in by_shots.values() for i in range(0, len(group), most)]


def _list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _photos(value):
    """A list of photos, also of a single one; an array of four dimensions is several."""
    single = value.ndim < 4 if isinstance(value, np.ndarray) else isinstance(
        value, (str, bytes, os.PathLike))
    return [value] if single else list(value)


def _what(photo, mark, name, number):
    """What messages call a mark: its file, or the class and the photo's."""
    if isinstance(mark, (str, Path)):
        return str(mark)
    return (f"{photo}, class {name}" if isinstance(photo, (str, Path))
            else f"class {name}, mask {number}")
