"""Episodes as a `tf.data.Dataset`."""

import numpy as np
import tensorflow as tf

from pipelines import reader
from pipelines.errors import DataError
from pipelines.folds import novel_class_ids
from pipelines.index import build_index, split_pairs
from pipelines.sampler import EpisodeSampler
from pipelines.sources import open_source
from pipelines.sources.folder import class_split
from pipelines.transforms import flips, random_flip, resize_class_mask, resize_image


def episode_dataset(source, episodes, *, image_size, batch, count=None, start=0, ignore_ids=(),
                    flip=False, seed=0, parallel_calls=tf.data.AUTOTUNE, prefetch=2,
                    features=None):
    """Batches of episode dictionaries, the same bits whatever `parallel_calls` is.

    Args:
        source: a `pipelines.sources.Source`.
        episodes: a list of `Episode`s, or an `EpisodeSampler` (endless from number `start`, or
            `count` episodes).
        image_size: side S in pixels; photos are squashed to it.
        batch: B; the last batch of a finite list may be smaller.
        ignore_ids: classes whose pixels become 255.
        flip: mirror each photo with its mask by chance, drawn from (seed, episode id).
        features: a store with `.shape` (h, w, C) and `.read(name, flipped)`; its features then
            stand in the photos' place and photos are not decoded.

    Yields:
        `support_image` [B, K, S, S, 3], `query_image` [B, S, S, 3] uint8 (or `support_features`
        [B, K, h, w, C], `query_features` float32), `support_mask` [B, K, S, S], `query_mask`
        [B, S, S] uint8 of 0, 1, 255, `class_id` [B] int32, `episode_id` [B] int64,
        `support_name` [B, K], `query_name` [B] string, `query_size` [B, 2] int32.
    Raises:
        DataError (through TensorFlow): damaged files, or a support without a pixel of its class.
    """
    sampler = isinstance(episodes, EpisodeSampler)
    if not sampler and len({len(episode.support) for episode in episodes}) != 1:
        raise DataError("a list of episodes must hold at least one, all with as many supports; "
                        f"found {len(episodes)} episodes of "
                        f"{sorted({len(episode.support) for episode in episodes})} supports")
    shots = episodes.shots if sampler else len(episodes[0].support)

    def names():
        if not sampler:
            yield from map(_plain, episodes)
            return
        number = start
        while count is None or number < start + count:
            yield _plain(episodes.episode(number))
            number += 1

    def picture(name, class_id, flipped):
        mask = reader.read_class_mask(source, name, class_id, ignore_ids)
        size = tf.shape(mask)
        small = tf.ensure_shape(resize_class_mask(mask, image_size), [image_size, image_size])
        if features is not None:
            shown = reader.read_features(features, name, flipped)
        else:
            shown = resize_image(reader.read_image(source, name), image_size)
            shown = tf.ensure_shape(shown, [image_size, image_size, 3])
        return shown, small, size

    def load(episode):
        flipped = flips(seed, episode["episode_id"], shots + 1) if flip else tf.zeros(
            [shots + 1], tf.bool)
        supports = [picture(episode["support_name"][k], episode["support_class_id"], flipped[k])
                    for k in range(shots)]
        support_mask = tf.stack([mask for _, mask, _ in supports])
        with tf.control_dependencies([_foreground(support_mask, episode, source)]):
            support_mask = tf.identity(support_mask)
        shown, query_mask, size = picture(episode["query_name"], episode["class_id"],
                                          flipped[shots])
        kind = "image" if features is None else "features"
        loaded = {f"support_{kind}": tf.stack([image for image, _, _ in supports]),
                  "support_mask": support_mask, f"query_{kind}": shown, "query_mask": query_mask,
                  "class_id": episode["class_id"], "episode_id": episode["episode_id"],
                  "support_name": episode["support_name"], "query_name": episode["query_name"],
                  "query_size": size}
        return random_flip(loaded, seed) if flip else loaded

    signature = {"episode_id": tf.TensorSpec([], tf.int64), "class_id": tf.TensorSpec([], tf.int32),
                 "support_class_id": tf.TensorSpec([], tf.int32),
                 "support_name": tf.TensorSpec([shots], tf.string),
                 "query_name": tf.TensorSpec([], tf.string)}
    dataset = tf.data.Dataset.from_generator(names, output_signature=signature)
    dataset = dataset.map(load, parallel_calls, deterministic=True)
    return dataset.batch(batch).prefetch(prefetch)


DATASETS = {  # name: source, split of the training photos, of the test photos
    "pascal5i": ("voc", "trainaug", "val"), "coco20i": ("coco", "train", "val"),
    "voc": ("voc", "all", "all"), "coco": ("coco", "all", "all"),
    "fss1000": ("folder", "all", "all"), "folder": ("folder", "all", "all"),
    "shapes": ("shapes", "all", "all")}


def episodes(dataset, root=None, *, fold=0, split="train", shots=1, batch=16, seed=0,
             image_size=321, rule="none", novel="keep", novel_classes=None, layout=None,
             split_file=None, annotations=None, count=None, flip=False):
    """Episodes of a data set in one call.

    Args:
        dataset: "pascal5i" (VOC layout, trainaug for training, val for testing), "coco20i"
            (COCO's files, train and val), "fss1000" or "folder" (a folder a class, classes split
            by `split_file` or by a seeded 60/20/20), "voc" or "coco" (any set of that layout, all
            its photos; `annotations` names a COCO-JSON of one's own) or "shapes" (embedded).
        fold, layout, novel_classes: which classes are novel, see `folds.novel_class_ids`.
        split: "train" (base classes, endless unless `count`) or "test" (novel classes, 1,000
            episodes unless `count`).

    Returns:
        `tf.data.Dataset`; see `episode_dataset` for what it yields.
    """
    if split not in ("train", "test"):
        raise DataError(f"split {split!r}: train or test is due")
    if dataset not in DATASETS:
        raise DataError(f"data set {dataset!r}: {', '.join(DATASETS)} are known")
    kind, *ids = DATASETS[dataset]
    options = {"image_size": image_size} if kind == "shapes" else {"root": root}
    source = open_source(kind, **options, **({"annotations": annotations} if annotations else {}))
    left_out = ()
    if kind == "folder" and not novel_classes:
        parts = class_split(source.classes, split_file)
        novel_classes, left_out = parts["test"], parts["val"]
    novel_ids = novel_class_ids(source.classes, fold=fold, novel_classes=novel_classes,
                                layout=layout)
    index = build_index(source, source.image_ids(ids[split == "test"]), rule)
    pairs = split_pairs(index, novel_ids, "base" if split == "train" else "novel", novel)
    sampler = EpisodeSampler([p for p in pairs if source.classes[p.class_id - 1] not in left_out],
                             shots, seed, class_names=source.classes)
    return episode_dataset(
        source, sampler, image_size=image_size, batch=batch, seed=seed, flip=flip,
        count=count or (None if split == "train" else 1000),
        ignore_ids=novel_ids if novel == "ignore255" and split == "train" else ())


def _plain(episode):
    return {"episode_id": episode.episode_id, "class_id": episode.class_id,
            "support_class_id": episode.support_class_id, "support_name": list(episode.support),
            "query_name": episode.query}


def _foreground(support_mask, episode, source):
    """An op that fails where a support holds no pixel of its class."""
    def check(masks, names, class_id):
        for mask, name in zip(masks, names, strict=True):
            if not (mask == 1).any():
                raise DataError(f"photo {name.decode()}: its mask holds no pixel of class "
                                f"{source.classes[class_id - 1]}, so it cannot be a support; "
                                "build the episodes from the current masks")
        return np.zeros((), np.int32)

    return tf.numpy_function(check, [support_mask, episode["support_name"],
                                     episode["support_class_id"]], tf.int32)
