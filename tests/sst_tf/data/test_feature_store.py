# SPDX-License-Identifier: Apache-2.0
"""The store of features: half floats, several processes, kills."""

import multiprocessing
import resource
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import open_source
from pipelines.errors import DataError
from sst_tf.data.feature_store import FeatureStore
from tests.pipelines.tiny_voc import write_tiny_voc
from tests.sst_tf.conftest import build

SIDE, PHOTOS = 33, 24


def photos():
    return open_source("shapes", image_size=SIDE, count=PHOTOS)


def fake(features):
    """An encoder of one function."""
    return SimpleNamespace(backbone=SimpleNamespace(weights=[], name="fake"), features=features)


def brightness(images):
    return tf.reduce_mean(tf.cast(images, tf.float32), -1, keepdims=True)


def counting(log, seconds=0.0):
    """`brightness`, and a line in a file for each photo computed."""
    def note(images):
        time.sleep(seconds)
        with open(log, "a") as file:
            file.write("x\n" * (len(images) if images.numpy().any() else 0))  # the probe is black

    def features(images):
        images = tf.convert_to_tensor(images)
        tf.py_function(note, [images], [])
        return brightness(images)

    return fake(features)


def fill(log, folder, ready, start):
    store = FeatureStore(counting(log, 0.05), photos(), SIDE, folder)
    ready.set()
    start.wait()
    store.ensure(store.names)


def test_features_are_kept_as_half_floats(tmp_path):
    model, source = build(backbone="resnet18"), photos()
    store = FeatureStore(model.encoder, source, SIDE, tmp_path)
    store.ensure(store.names[:5])
    exact = model.encoder.features(
        np.stack([source.read_image(name) for name in store.names[:5]])).numpy()
    for name, true in zip(store.names, exact, strict=False):
        found = store.read(name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, true, rtol=1e-3, atol=1e-4)
    assert np.load(store.folder / "features.npy", mmap_mode="r").dtype == np.float16
    assert not np.array_equal(store.read(store.names[0], flipped=True), store.read(store.names[0]))


def test_a_photo_that_changed_under_its_name_is_computed_again(tmp_path):
    root = write_tiny_voc(tmp_path / "data", photos=6)
    source = open_source("voc", root)
    name = source.image_ids("all")[0]

    def features():
        return FeatureStore(fake(brightness), source, SIDE, tmp_path / "cache").read(name)

    before = features()
    np.testing.assert_array_equal(features(), before)
    path = source.image_path(name)
    Image.fromarray(255 - source.read_image(name)).save(path)
    assert np.abs(features() - before).max() > 10


@pytest.mark.parametrize("value, said", [(70000.0, "70000"), (float("nan"), "nan")])
def test_what_a_half_float_cannot_hold_is_refused(tmp_path, value, said):
    store = FeatureStore(fake(lambda images: brightness(images) * 0 + value), photos(), SIDE,
                         tmp_path)
    with pytest.raises(DataError, match=f"reach {said}, the store keeps at most 65504"):
        store.ensure(store.names[:1])
    assert not store.done.any()


def test_two_processes_fill_one_store(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    ready, start = context.Event(), context.Event()
    other = context.Process(target=fill, args=(log, tmp_path, ready, start))
    other.start()
    assert ready.wait(240)
    store = FeatureStore(counting(log, 0.05), photos(), SIDE, tmp_path)
    start.set()
    store.ensure(store.names)
    other.join(240)
    assert other.exitcode == 0
    assert len(log.read_text().splitlines()) == PHOTOS  # each photo once, by one of the two
    for name in store.names:
        true = np.mean(np.asarray(store.source.read_image(name), np.float32), -1, keepdims=True)
        np.testing.assert_allclose(store.read(name), true, rtol=1e-3)


@pytest.mark.parametrize("broken", ["features.npy", "done.npy"])
def test_half_a_file_is_made_anew(tmp_path, broken):
    store = FeatureStore(fake(brightness), photos(), SIDE, tmp_path)
    first = store.read(store.names[3])
    path = store.folder / broken
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:len(whole) // 2])
    again = FeatureStore(fake(brightness), photos(), SIDE, tmp_path)
    assert not again.done.any()
    np.testing.assert_array_equal(again.read(again.names[3]), first)


def test_what_was_written_before_a_kill_is_not_computed_again(tmp_path):
    log, calls = tmp_path / "log", []

    def killed(images):
        tf.py_function(lambda: calls.append(1), [], [])
        with tf.control_dependencies([tf.py_function(stop, [], [])]):
            return brightness(images)

    def stop():
        if len(calls) > 3:  # the probe, two batches
            raise KeyboardInterrupt

    store = FeatureStore(fake(killed), photos(), SIDE, tmp_path)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - TensorFlow wraps it
        store.ensure(store.names)
    written = int(np.sum(store.done))
    assert 0 < written < PHOTOS
    again = FeatureStore(counting(log), photos(), SIDE, tmp_path)
    again.ensure(again.names)
    assert len(log.read_text().splitlines()) == PHOTOS - written


def test_a_full_disk_is_an_error_and_no_end_of_the_process(tmp_path):
    """Through a map of the file the kernel would answer with SIGBUS."""
    store = FeatureStore(fake(brightness), photos(), SIDE, tmp_path)
    store.ensure(store.names[:1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (store.folder / "features.npy").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            store.ensure(store.names[-1:], flipped=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(store.folder / "features.npy")
    assert store.done.sum() == 1
    store.ensure(store.names[-1:], flipped=True)
    assert store.done.sum() == 2
