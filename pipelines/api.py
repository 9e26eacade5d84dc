# SPDX-License-Identifier: Apache-2.0
"""Episodes of a data set in one call."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipelines.dataset import episode_dataset
from pipelines.errors import DataError
from pipelines.folds import novel_class_ids
from pipelines.index import build_index, split_pairs
from pipelines.renamed import renamed
from pipelines.sampler import EpisodeSampler, WaySampler
from pipelines.sources import Source, open_source
from pipelines.sources.folder import class_split
from pipelines.sources.joined import beside

DATASETS = {  # name: source, split of the training photos, of the test photos
    "pascal5i": ("voc", "trainaug", "val"), "coco20i": ("coco", "train", "val"),
    "voc": ("voc", "all", "all"), "coco": ("coco", "all", "all"),
    "fss1000": ("folder", "all", "all"), "folder": ("folder", "all", "all"),
    "shapes": ("shapes", "all", "all")}
PARTS = {"train": "base", "test": "novel"}


@renamed(rule="pair_filter", novel="novel_policy")
def episodes(dataset: str, root: str | os.PathLike | None = None, *, fold: int = 0,
             split: str = "train", shots: int = 1, ways: int | None = None, batch: int = 16,
             seed: int = 0, image_size: int = 321, pair_filter: str = "none",
             novel_policy: str = "drop", novel_classes: Sequence[str] | None = None,
             layout: str | None = None, split_file: str | os.PathLike | None = None,
             annotations: str | os.PathLike | None = None, count: int | None = None,
             join: Mapping[str, Source] | None = None, **options: Any) -> tf.data.Dataset:
    """Episodes of a data set in one call.

    Args:
        dataset: "pascal5i" (VOC layout, trainaug for training, val for testing), "coco20i"
            (COCO's files, train and val), "fss1000" or "folder" (a folder a class, classes split
            by `split_file` or by a seeded 60/20/20), "voc" or "coco" (any set of that layout, all
            its photos; `annotations` names a COCO-JSON of one's own) or "shapes" (embedded).
        fold, layout, novel_classes: which classes are novel, see `folds.novel_class_ids`; names
            leave no choice to `fold`, `layout` and `split_file`.
        split: "train" (base classes, endless unless `count`) or "test" (novel classes, 1,000
            episodes unless `count`).
        ways: N classes an episode, and a query mask of 0..N; None for one class and 0, 1. A
            training list then holds 10,000 episodes unless `count`.
        join: further sources by name, all of whose photos of base classes are trained on too,
            under one list of classes (`sources.joined`): "aeroplane" is "airplane". Photo `7` of
            `coco` is `coco:7`. Folds are of the data set's own classes.
        pair_filter, novel_policy: `index.build_index`, `index.split_pairs`. By default no photo
            that shows a novel class is trained on, so that none is tested that was.
        options: further ones of `episode_dataset`: `flip`, `augment`, `resize`, `full_mask`,
            `shard`, `cache`, `threads`, `device`, `service`, ...

    Returns:
        `tf.data.Dataset`; see `episode_dataset` for what it yields.
    """
    _check_split(split)
    if dataset not in DATASETS:
        raise DataError(f"data set {dataset!r}: {', '.join(DATASETS)} are known")
    kind, *ids = DATASETS[dataset]
    where: dict[str, Any] = {"root": root}
    if kind == "shapes":
        where["image_size"] = image_size
    if annotations:
        where["annotations"] = annotations
    if split_file is not None and kind != "folder":
        raise DataError(f"split_file {split_file!r}: goes with a data set of the layout folder, "
                        f"not {dataset}; novel_classes names those to leave out")
    if novel_classes is not None and (fold or layout or split_file is not None):
        raise DataError(f"novel_classes {novel_classes!r}: say which classes are novel; leave "
                        "fold, layout and split_file out")
    source = open_source(kind, **where)
    left_out: tuple[str, ...] = ()
    if kind == "folder" and novel_classes is None:
        if fold or layout:
            raise DataError(f"fold {fold}, layout {layout}: {dataset} has no folds; split_file or "
                            "novel_classes choose the novel classes")
        parts = class_split(source.classes, split_file)
        novel_classes, left_out = parts["test"], parts["val"]
    classes = source.classes
    if join:
        source = beside(source, dataset, dict(zip(PARTS, ids, strict=True)),
                        {name: (one, "all") for name, one in join.items()})
        classes, ids = source.classes if novel_classes else classes, list(PARTS)
    novel_ids = novel_class_ids(classes, fold=fold, novel_classes=novel_classes, layout=layout)
    return _episodes(source, ids[split == "test"], novel_ids, left_out, split=split, shots=shots,
                     ways=ways, batch=batch, seed=seed, image_size=image_size,
                     pair_filter=pair_filter, novel_policy=novel_policy, count=count, **options)


@renamed(rule="pair_filter", novel="novel_policy")
def from_tfds(builder: Any, *, split: str = "train", shots: int = 1, batch: int = 16, seed: int = 0,
              image_size: int = 321, pair_filter: str = "none", novel_policy: str = "drop",
              count: int | None = None, **options: Any) -> tf.data.Dataset:
    """Episodes of a prepared `pipelines.tfds` builder, read by random access.

    Args:
        builder: `Pascal5i` or `Coco20i` after `download_and_prepare(file_format="array_record")`;
            its config says the fold and the layout.
        split: "train" or "test", the others as in `episodes`.

    Returns:
        `tf.data.Dataset`; see `episode_dataset` for what it yields.
    """
    _check_split(split)
    from pipelines.tfds import TFDSSource  # TensorFlow Datasets is slow to import

    source, config = TFDSSource(builder), builder.builder_config
    novel_ids = novel_class_ids(source.classes, fold=config.fold, layout=config.layout)
    return _episodes(source, split, novel_ids, split=split, shots=shots, batch=batch, seed=seed,
                     image_size=image_size, pair_filter=pair_filter, novel_policy=novel_policy,
                     count=count, **options)


def _check_split(split):
    if split not in PARTS:
        raise DataError(f"split {split!r}: train or test is expected")


def _episodes(source, ids, novel_ids, left_out=(), *, split, shots, ways=None, batch, seed,
              image_size, pair_filter, novel_policy, count, **options):
    """Index the photos of `ids`, sample base or novel classes, read."""
    index = build_index(source, source.image_ids(ids), pair_filter)
    pairs = [pair for pair in split_pairs(index, novel_ids, PARTS[split], novel_policy)
             if source.classes[pair.class_id - 1] not in left_out]
    if split == "test" and count is None:
        count = 1000
    if ways is None:
        drawn = EpisodeSampler(pairs, shots, seed, class_names=source.classes)
        options["count"] = count
    else:
        drawn = WaySampler(pairs, ways, shots, seed, source.classes,
                           getattr(source, "labels", None)).take(
                               10_000 if count is None else count, options.pop("start", 0))
    return episode_dataset(
        source, drawn, image_size=image_size, batch=batch, seed=seed,
        ignore_ids=novel_ids if novel_policy == "ignore255" and split == "train" else (), **options)
