# SPDX-License-Identifier: Apache-2.0
"""Episodes as a `tf.data.Dataset`."""

import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.errors import DataError, check_whole
from pipelines.reading.augment import PRESETS, Augment
from pipelines.reading.augment import draw as draw_augmentation
from pipelines.reading.cached import cache_file, kept
from pipelines.reading.reader import Reader, check_size
from pipelines.reading.transforms import (
    RESIZES,
    flips,
    mirror,
    resize_class_mask,
    resize_image,
    resize_mask,
    which,
)
from pipelines.remote.client import distribute, exactly_once, refuse_nobody
from pipelines.sampler import Episode, EpisodeSampler, WayEpisode
from pipelines.sources import Source

ENDLESS = 2**62


def episode_dataset(source: Source, episodes: Sequence[Episode | WayEpisode] | EpisodeSampler, *,
                    image_size: int, batch: int, count: int | None = None, start: int = 0,
                    ignore_ids: Collection[int] = (), flip: bool = False, crops: int = 0,
                    augment: Augment | str | None = None, seed: int = 0,
                    resize: str = "squash", full_mask: bool = False, features: Any = None,
                    parallel_calls: int | None = None, prefetch: int = 2,
                    shard: tuple[int, int] | None = None, cache: str | os.PathLike | None = None,
                    threads: int | None = None, deterministic: bool = True,
                    device: str | None = None, service: str | None = None) -> tf.data.Dataset:
    """Batches of episode dictionaries, the same bits whatever `parallel_calls` is.

    Args:
        source: a `pipelines.sources.Source`.
        episodes: a list of `Episode`s or `WayEpisode`s, or an `EpisodeSampler` (endless from
            number `start`, or `count` episodes).
        image_size: side S in pixels.
        batch: B; the last batch of a finite list may be smaller.
        ignore_ids: classes whose pixels become 255.
        flip: mirror each photo with its mask by chance, drawn from (seed, episode id).
        crops: of stored features, show one of a photo's first `crops` crops (`reading.crops`) as
            often as the whole photo, drawn as flips are; one that loses the object is not shown.
        augment: an `Augment`, or the name of one ("canet", "pfenet"): scaled, cropped, turned and
            blurred by (seed, episode id); resampled once, straight from the photo.
        resize: "squash" photos to S x S, or "pad" them, aspect kept (`transforms.framed_size`).
        full_mask: add `query_mask_full`, the query's mask at the photo's own size; without `flip`
            and `augment`, under which the picture shows something else.
        features: a store with `.shape` (h, w, C) and `.read(name, flipped)` (with `crops` a third
            argument); its features then stand in the photos' place, which are not decoded.
        parallel_calls: episodes read at once; by default twice as many as cores, since one can
            decode while another waits for Python's lock.
        shard: (index, n): every n-th episode from the index-th on, for one of n readers.
        cache: "memory", or a file's name, to which a hash of episodes, options and photo files is
            appended: a finite list is decoded once.
        threads: of a private pool; None shares TensorFlow's.
        deterministic: False lets a fast episode overtake a slow one.
        device: batches wait on it, such as "GPU:0".
        service: address "host:port" of a `pipelines.remote` dispatcher whose workers read; the
            order of episodes is then theirs. Of a list each arrives exactly once, even if a
            worker dies.

    Yields:
        `support_image` [B, K, S, S, 3], `query_image` [B, S, S, 3] uint8 (or `support_features`
        [B, K, h, w, C], `query_features` float32), `support_mask` [B, K, S, S], `query_mask`
        [B, S, S] uint8 of 0, 1, 255, `class_id` [B] int32, `episode_id` [B] int64,
        `support_name` [B, K], `query_name` [B] string, `query_size` [B, 2] int32. Of N ways:
        `support_*` with N before K, `class_id` [B, N], and a `query_mask` of 0..N. With
        `full_mask`: `query_mask_full` uint8 [B, (H), (W)], ragged.
    Raises:
        DataError: here for what cannot be; through TensorFlow for damaged files, or a support
            without a pixel of its class.
    """
    check_whole(1, image_size=image_size, batch=batch, count=1 if count is None else count)
    check_whole(0, seed=seed, start=start)
    _check(episodes, features, augment, resize, start, count, cache, shard, service, crops)
    if full_mask and (flip or augment is not None):
        raise DataError("full_mask is the mask of the photo as it stands, and flip and augment "
                        "show another picture: leave them or full_mask out")
    _check_classes(source, episodes)
    check_size(source, image_size, resize, full_mask)
    if service is not None:
        refuse_nobody(service)
    parallel_calls = parallel_calls or 2 * (os.cpu_count() or 1)
    how = PRESETS[augment] if isinstance(augment, str) else augment and augment.checked()
    reader = Reader(source, features, remote=service is not None)
    endless = isinstance(episodes, EpisodeSampler) and count is None
    if isinstance(episodes, EpisodeSampler) and count is not None and (
            episodes.mismatched or service or cache is not None):
        episodes = episodes.take(count, start)
    index, readers = shard or (0, 1)
    stream, shots, ways = _stream(episodes, reader, start, count, (index, readers))
    supports = (ways or 1) * shots
    stored = getattr(source, "stored_size", None) is not None and features is None and not ways

    def shown(name, mask, flipped, crop=None):
        """Photo or features, and the mask at their size, mirrored together."""
        mask = mirror(tf.ensure_shape(mask, [image_size, image_size]), flipped)
        if features is not None:
            return reader.features(name, flipped, crop), mask
        image = resize_image(reader.image(name), image_size, resize)
        return mirror(tf.ensure_shape(image, [image_size, image_size, 3]), flipped), mask

    def whole_mask(episode):
        """The query's, at the photo's own size."""
        if ways:
            return reader.way_mask(episode["query_name"], episode["class_id"], ignore_ids)
        return reader.class_mask(episode["query_name"], episode["class_id"], ignore_ids)

    def plain(episode, flipped, numbers=None):
        """Support images and masks, query image and mask, [H, W] of the query's photo.

        Args:
            numbers: which crop of each photo is shown, the query's last.
        """
        names = tf.reshape(episode["support_name"], [-1])
        class_ids = tf.repeat(tf.reshape(episode["support_class_id"], [-1]), shots)

        def support(i):
            """Mask, and crop or None, of one support."""
            if numbers is None:
                return reader.class_mask(names[i], class_ids[i], ignore_ids, support=True), None
            return reader.view_mask(names[i], class_ids[i], numbers[i], ignore_ids, support=True)

        supported = []
        for i in range(supports):
            mask, crop = support(i)
            small = resize_class_mask(mask, image_size, resize)
            supported.append(shown(names[i], small, flipped[i], crop))
        images, masks = (tf.stack(kind) for kind in zip(*supported, strict=True))
        if ways:
            images, masks = (tf.reshape(t, [ways, shots, *t.shape[1:]]) for t in (images, masks))
        name = episode["query_name"]
        mask, crop = (whole_mask(episode), None) if numbers is None else reader.view_mask(
            name, episode["class_id"], numbers[-1], ignore_ids)
        # Nearest sampling may lose one of several classes; the one class of 0, 1 never vanishes.
        small = (resize_mask if ways else resize_class_mask)(mask, image_size, resize)
        return images, masks, *shown(name, small, flipped[-1], crop), tf.shape(mask)

    @tf.autograph.experimental.do_not_convert  # no branch depends on a tensor's value
    def load(episode):
        number = episode["episode_id"]
        if how is not None:
            numbers = draw_augmentation(seed, number, supports + 1)
            pictures = reader.augmented(episode, ignore_ids, image_size, numbers, flip, how, resize)
        else:
            flipped = (flips(seed, number, supports + 1) if flip else
                       tf.zeros([supports + 1], tf.bool))
            if stored:
                pictures = reader.stored(episode, ignore_ids, image_size, flipped)
            else:
                pictures = plain(episode, flipped,
                                 which(seed, number, supports + 1, crops + 1) if crops else None)
        kind = "image" if features is None else "features"
        result = dict(zip((f"support_{kind}", "support_mask", f"query_{kind}", "query_mask",
                           "query_size"), pictures, strict=True))
        result |= {key: episode[key] for key in ("class_id", "episode_id", "support_name",
                                                 "query_name")}
        if full_mask:
            result["query_mask_full"] = tf.RaggedTensor.from_tensor(whole_mask(episode))
        return result

    def loaded(stream):
        return stream.map(load, parallel_calls, deterministic=deterministic)

    if service is None or not (endless or episodes[index::readers]):  # type: ignore[index]
        dataset = loaded(stream)  # here, or nothing: a list may be shorter than there are readers
    elif endless:
        dataset = distribute(loaded(stream), service)
    else:
        dataset = _all_of(episodes[index::readers], service,  # type: ignore[index]  # a list by now
                          lambda some: distribute(loaded(_table(some)), service))
    if cache is not None:
        if cache == "memory":
            dataset = dataset.cache()
        else:
            store = getattr(features, "folder", type(features).__qualname__)
            dataset = kept(dataset, cache_file(
                cache, source, episodes,  # type: ignore[arg-type]  # a list by now
                image_size, sorted(ignore_ids), flip, crops, how, seed, resize, full_mask, store,
                shard))
    dataset = dataset.batch(batch)
    options = tf.data.Options()
    options.deterministic = deterministic
    if threads is not None:
        options.threading.private_threadpool_size = threads
    # Episodes are sharded above, by whole episodes; a strategy must not do it again by batches.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    dataset = dataset.with_options(options)
    if device is not None:
        return dataset.apply(tf.data.experimental.prefetch_to_device(device, prefetch))
    return dataset.prefetch(prefetch)


def _check(episodes, features, augment, resize, start, count, cache, shard, service, crops):
    """DataError for arguments that do not go together."""
    sampler = isinstance(episodes, EpisodeSampler)
    if resize not in RESIZES:
        raise DataError(f"resize {resize!r}: {' or '.join(RESIZES)} is expected")
    if isinstance(augment, str) and augment not in PRESETS:
        raise DataError(f"augment {augment!r}: {', '.join(PRESETS)} are known, or an Augment")
    if augment is not None and features is not None:
        raise DataError("augment changes photos, so features cannot be read from a store: leave "
                        "one of the two out")
    if crops and (features is None or not sampler):
        raise DataError("crops are of a sampler's photos whose features are stored; raw photos "
                        "have augment")
    if service is not None and features is not None:
        raise DataError("cached features lie on this machine, tf.data service reads photos: leave "
                        "one of the two out (train.cache_features, train.service)")
    if sampler and count is None and (episodes.mismatched or cache is not None):
        raise DataError("mismatched or cached episodes want a count: an endless stream has none")
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise DataError(f"shard {shard}: (index, readers) with 0 <= index < readers is expected")
    if not sampler:
        kinds = {(type(e), np.shape(e.class_id), len(e.support)) for e in episodes}
        if len(kinds) != 1:
            found = sorted(len(e.support) for e in episodes)
            raise DataError("a list of episodes must hold at least one, all with as many "
                            f"supports; found {len(episodes)} of {found[:1]} to {found[-1:]}")
        if service is not None and len({e.episode_id for e in episodes}) < len(episodes):
            raise DataError("episodes of a list that a service reads are told apart by their ids, "
                            "and some occur twice; read it in parts, or without service")
        if augment is not None and isinstance(episodes[0], WayEpisode):
            raise DataError("augment changes the mask of one class; episodes of N ways can be "
                            "mirrored (flip) but not augmented")
        for name, value in (("start", start or None), ("count", count)):
            if value is not None:
                raise DataError(f"{name} {value}: is of a sampler; a list of episodes is taken "
                                "whole")


def _check_classes(source, episodes):
    """DataError for a list whose class numbers the source does not have: 0 would be background."""
    if isinstance(episodes, EpisodeSampler):
        return
    known = range(1, len(source.classes) + 1)
    for one in episodes:
        for number in (*np.ravel(one.class_id), getattr(one, "support_class_id", 1)):
            if number not in known:
                raise DataError(f"episode {one.episode_id}: class {number}; the data set has 1 to "
                                f"{len(known)}: read the episodes with the data set that they "
                                "were drawn from")


def _stream(episodes, reader, start, count, shard):
    """(dataset of a shard's episodes by name, k, N or 0) from a list or a sampler."""
    index, readers = shard
    if isinstance(episodes, EpisodeSampler):
        # A service deals out numbers as they stand here: a shard after them would be another.
        numbers = tf.data.Dataset.range(
            start + index, ENDLESS if count is None else start + count, readers)
        return _sampled(episodes, reader, numbers), episodes.shots, 0
    stream = _table(episodes).shard(readers, index)
    ways = len(episodes[0].class_id) if isinstance(episodes[0], WayEpisode) else 0
    return stream, stream.element_spec["support_name"].shape[-1], ways


def _table(episodes):
    """A list of episodes as a dataset of names."""
    ways = isinstance(episodes[0], WayEpisode)
    table = {
        "episode_id": np.array([e.episode_id for e in episodes], np.int64),
        "class_id": np.array([e.class_id for e in episodes], np.int32),
        "support_class_id": np.array([e.class_id if ways else e.support_class_id
                                      for e in episodes], np.int32),
        "support_name": tf.constant([e.support for e in episodes], tf.string),
        "query_name": tf.constant([e.query for e in episodes], tf.string)}
    return tf.data.Dataset.from_tensor_slices(table)


def _all_of(episodes, address, remote):
    """Remotely read episodes of a list, each exactly once, as a dataset."""
    by_id = {episode.episode_id: episode for episode in episodes}

    def arriving():
        return exactly_once(lambda missing: remote([by_id[i] for i in sorted(missing)]), by_id,
                            address)

    return tf.data.Dataset.from_generator(arriving,
                                          output_signature=remote(episodes).element_spec)


def _sampled(sampler, reader, numbers):
    """Episodes of a sampler by a dataset of their numbers, drawn in the graph's threads."""
    photos = tf.constant(sampler.listed)

    def named(number):
        drawn = reader.draw(number, sampler)
        place, names = drawn[0], tf.gather(photos, drawn[1:])
        class_id = tf.gather(tf.constant(sampler.classes, tf.int32), place)
        return {"episode_id": number, "class_id": class_id, "support_class_id": class_id,
                "support_name": names[1:], "query_name": names[0]}

    return numbers.map(named)
