# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the episodes of a run: training, base validation, novel."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines import EpisodeSampler, Source, episode_dataset, open_source
from pipelines.errors import DataError
from pipelines.folds import novel_class_ids
from pipelines.index import PAIR_FILTERS, build_index, holdout, read_facts, split_pairs
from pipelines.sources.folder import class_split
from pipelines.sources.joined import beside
from sst_tf.config import Config

KINDS = ("image", "features", "mask")
SPLITS = ("train", "validation", "novel")
_CHECK = "check data.pair_filter, data.novel_policy"
# Of each split, what its photos are, and what to do where they are too few for episodes.
PHOTOS = {
    "train": ("training photos of base classes",
              f"add photos, lower train.shots or data.validation_share, or {_CHECK} and "
              "data.train_split"),
    "validation": ("held-out photos of base classes",
                   "add photos, raise data.validation_share, lower evaluate.shots, or "
                   f"{_CHECK} and data.train_split"),
    "novel": ("photos of novel classes",
              "add photos, lower evaluate.shots, or check data.pair_filter and data.novel_split")}


@dataclass
class RunData:
    """Source and pairs of a run.

    Attributes:
        source: `pipelines` source.
        novel_ids: class numbers never trained on.
        train, validation, novel: lists of `pipelines.index.Pair`; the photos of `train` and
            `validation` are disjoint, both hold base classes.
        novel_policy: "drop", "keep" or "ignore255".
        classes_of: {photo: classes with any pixel in it}, whatever pairs are left out.
        left_out: class numbers that are neither trained on nor tested.
    """

    source: Source
    novel_ids: tuple[int, ...]
    train: list
    validation: list
    novel: list
    novel_policy: str
    classes_of: dict[str, frozenset[int]]
    left_out: frozenset[int] = frozenset()

    @property
    def all_tested(self) -> bool:
        """Whether novel classes leave no photo to choose on."""
        return bool(self.novel_ids) and not self.validation

    def void_in(self, part: str) -> tuple[int, ...]:
        """Classes whose pixels count as void in the photos of "train", "validation" or "novel"."""
        return self.novel_ids if self.novel_policy == "ignore255" and part != "novel" else ()

    def class_names(self) -> dict[str, list[str]]:
        """{"base": names, "novel": names}; classes that take no part are in neither."""
        others = {*self.novel_ids, *self.left_out}
        return {"base": [name for i, name in enumerate(self.source.classes, start=1)
                         if i not in others],
                "novel": [self.source.classes[i - 1] for i in self.novel_ids]}

    def photo_counts(self) -> dict[str, dict[str, int]]:
        """{"train", "validation", "novel": {part of a joined data set, or its name: photos}}."""
        part_of = getattr(self.source, "part_of", lambda image_id: self.source.name)
        return {split: dict(Counter(part_of(name) for name in dict.fromkeys(
            pair.image_id for pair in getattr(self, split)))) for split in SPLITS}

    def photo_facts(self) -> dict[str, dict]:
        """`photo_counts`, and under "sha256" those of each split's photos (`sha256`)."""
        return {**self.photo_counts(), "sha256": {split: self.sha256(split) for split in SPLITS}}

    def lacks(self, image_id: str, class_id: int) -> bool:
        """Whether a photo is known to show no pixel of a class: its masks label it, not here."""
        labels = getattr(self.source, "labels", None)
        return class_id not in self.classes_of[image_id] and (
            labels is None or class_id in labels(image_id))

    def novel_sha256(self) -> str | None:
        """`sha256` of the novel photos: which photos are tested."""
        return self.sha256("novel")

    def sha256(self, split: str) -> str | None:
        """Hash of the ids of a split's photos and their files' sizes.

        Wherever they lie and whenever they were written; None where a file is missing, or the
        source keeps none.
        """
        files = getattr(self.source, "files", None)
        if files is None:
            return None
        names = sorted({pair.image_id for pair in getattr(self, split)})
        try:
            facts = [(name, [os.stat(path).st_size for path in files(name)]) for name in names]
        except OSError:  # whoever reads the photo says it
            return None
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def sampler(self, part: str, shots: int, seed: int, **options: Any) -> EpisodeSampler:
        """An `EpisodeSampler` over "train", "validation" or "novel" pairs.

        Classes of base splits with too few photos for k shots are left out and listed in its
        `skipped`; a novel class with too few is an error, as leaving it out would change what
        is measured.

        Args:
            options: further ones of `EpisodeSampler`.
        """
        photos, remedy = PHOTOS[part]
        return EpisodeSampler(getattr(self, part), shots, seed, skip_small=part != "novel",
                              class_names=self.source.classes, lacks=self.lacks, photos=photos,
                              remedy=remedy, **options)

    def training_episodes(self, config: Config, start: int, features=None, context=None
                          ) -> tf.data.Dataset:
        """Endless batches of photos (or features) and masks for `fit`, from episode `start` on.

        Args:
            context: `tf.distribute.InputContext` of one of several workers, whose batches are
                then its share of the episodes, a replica's part each.
        """
        train = config.train
        batch, shard = train.batch, None
        if context is not None:
            batch //= context.num_replicas_in_sync
            shard = (context.input_pipeline_id, context.num_input_pipelines)
        sampler = self.sampler("train", train.shots, train.seed, power=train.class_power,
                               absent=train.absent_share)
        episodes = episode_dataset(
            self.source, sampler, image_size=config.data.image_size, batch=batch, start=start,
            ignore_ids=self.void_in("train"), flip=train.flip, crops=train.crops, seed=train.seed,
            features=features,
            augment=None if train.augment == "none" else train.augment, shard=shard,
            resize=config.data.resize, parallel_calls=train.parallel_calls,
            service=train.service)
        # Photos and masks only: over several devices Keras averages a batch to see its shapes,
        # and names have no mean.
        return episodes.map(lambda episode: {
            key: value for key, value in episode.items()
            if key.startswith(("support_", "query_")) and key.endswith(KINDS)})


def open_data(config: Config, progress: bool = False) -> RunData:
    """Open the configured data set and split it.

    Args:
        config: `sst_tf.config.Config`.
        progress: show a bar while masks are read.
    Raises:
        pipelines.DataError: naming the file and the remedy.
    """
    data = config.data
    main = open_source(data.dataset, **_source_options(data))
    source = _joined(main, data) if data.join else main
    novel_ids, left_out = _class_ids(main, source, data)
    splits = ("train", "novel") if data.join else (data.train_split, data.novel_split)
    # Without novel classes nothing is tested: no mask is read for it.
    ids = [source.image_ids(split) for split in (splits if novel_ids else splits[:1])]
    ids += [[]] * (2 - len(ids))
    facts = read_facts(source, [name for names in ids for name in names], progress)
    listed = config.evaluate.pair_list
    if listed and not Path(listed).is_file():
        raise DataError(f"evaluate.pair_list {listed!r}: no such list; expected the path of the "
                        "published list of this fold's test pairs")
    train_index, novel_index = _indexes(source, ids, data, facts)
    if listed:
        novel_index = build_index(source, ids[1], listed, facts=facts)
        _refuse_others(listed, novel_index, novel_ids, source.classes)
    base = [pair for pair in split_pairs(train_index, novel_ids, "base", data.novel_policy)
            if pair.class_id not in left_out]
    train, validation = holdout(base, data.validation_share, data.split_seed)
    novel = split_pairs(novel_index, novel_ids, "novel")
    _refuse_unseen(novel, novel_ids, source.classes, listed or f"split {data.novel_split}")
    return RunData(source, tuple(novel_ids), train, validation, novel, data.novel_policy,
                   {**train_index.classes_of, **novel_index.classes_of}, frozenset(left_out))


def _indexes(source, ids, data, facts):
    """Pairs of the training photos and of those with novel classes."""
    if data.pair_filter in PAIR_FILTERS or not Path(data.pair_filter).is_file():
        train, novel = (build_index(source, names, data.pair_filter, facts=facts) for names in ids)
        return train, novel
    if data.join:
        raise DataError(f"data.pair_filter {data.pair_filter}: a list says nothing of the photos "
                        "of data.join; expected one of "
                        f"{', '.join(PAIR_FILTERS)}, or --data.join '[]'")
    # One list may have pairs of both splits.
    both = build_index(source, list(dict.fromkeys(ids[0] + ids[1])), data.pair_filter, facts=facts)
    return both.of(ids[0]), both.of(ids[1])


def _refuse_others(path, index, novel_ids, classes):
    for pair in index.pairs:
        if pair.class_id not in novel_ids:
            novel = ", ".join(classes[i - 1] for i in novel_ids)
            raise DataError(f"{path}: lists class {classes[pair.class_id - 1]} in photo "
                            f"{pair.image_id}; expected pairs of the novel classes alone ({novel}):"
                            " the list of this fold")


def _refuse_unseen(novel, novel_ids, classes, where):
    """A class that is never asked would leave the mean over classes without a word."""
    unseen = set(novel_ids) - {pair.class_id for pair in novel}
    if unseen:
        names = ", ".join(classes[i - 1] for i in sorted(unseen))
        raise DataError(f"{where}: no photo to test novel class {names} on once data.pair_filter "
                        "or evaluate.pair_list has chosen; add some, or name the other classes by "
                        "data.novel_classes")


def _joined(main, data):
    """The data set beside further ones, whose photos are of the training split alone."""
    others = {}
    for one in data.join:
        try:
            others[one.name] = open_source(one.dataset, **_source_options(one)), one.split
        except DataError as error:
            raise DataError(f"data.join {one.name}: {error}; --data.join '[]' leaves it out"
                            ) from None
    splits = {"train": data.train_split, "novel": data.novel_split}
    return beside(main, data.dataset, splits, others, data.unlabelled)


def _source_options(data):
    if data.dataset == "shapes":
        return {"image_size": data.image_size, "count": data.count, "seed": data.seed}
    own = {"voc": {"classes": data.classes}, "coco": {"annotations": data.annotations}}
    return {"root": data.root, **own.get(data.dataset, {})}


def _class_ids(main, source, data):
    """(ids of novel classes, ids of classes that take no part); the main set's come first."""
    if data.dataset == "folder" and data.novel_classes is None:
        parts = class_split(main.classes, data.split_file, data.split_seed)
        ids = {part: tuple(main.classes.index(name) + 1 for name in names)
               for part, names in parts.items()}
        return ids["test"], set(ids["val"])
    classes = main.classes if data.novel_classes is None else source.classes
    return novel_class_ids(classes, fold=data.fold, novel_classes=data.novel_classes,
                           layout=data.layout), set()
