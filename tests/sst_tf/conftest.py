# SPDX-License-Identifier: Apache-2.0
"""Small heads, features and episodes for tests of the method."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.methods.sst import SST
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run

CHANNELS = 6


@pytest.fixture
def eagerly():
    """No graphs: tracing takes most of a training of a few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def kept_models():
    """A run's model is loaded once, so that its graphs are traced once."""
    load, kept = Run.model, {}

    def model(run):
        key = hashlib.sha256(run.model_path.read_bytes()).hexdigest()
        if key not in kept:
            kept[key] = load(run)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "model", model)
        yield


@pytest.fixture
def head():
    tf.keras.utils.set_random_seed(0)
    head = SST(CHANNELS)
    # The last layer starts small; here every derivative should be worth looking at.
    kernel = head.decoder.classify.kernel
    kernel.assign(2**0.5 * tf.random.stateless_normal(kernel.shape, (1, 0)))
    return head


@pytest.fixture
def supports():
    """R_s [3, 5, 5, C] and T_S [3, 33, 33] with a few pixels of 255."""
    rng = np.random.default_rng(0)
    features = tf.constant(rng.random((3, 5, 5, CHANNELS)), tf.float32)
    mask = np.zeros((3, 33, 33), np.uint8)
    mask[0, 4:20, 6:30] = 1
    mask[1, 10:14, :] = 1
    mask[2, 2:30, 2:9] = 1
    mask[:, 0, :] = 255
    return features, tf.constant(mask)


def build(steps=1, auxiliary=1.0, backbone="small", channels=8, comparator="product",
          method="sst", feature_dropout=0.0, **tuner):
    """A segmenter of a few thousand weights."""
    tf.keras.utils.set_random_seed(1)
    return SSTSegmenter(
        model={"method": method, "backbone": backbone, "channels": channels, "dropout": 0.0,
               "train_backbone": backbone == "small", "comparator": comparator,
               "feature_dropout": feature_dropout},
        tuner={"steps": steps, "step_size": 0.3, "normalize": "relative", **tuner},
        loss={"auxiliary": auxiliary, "balanced": False})


def losses_of_steps(model, episode, steps):
    """Losses of so many training steps on one episode."""
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    train, losses = tf.function(model.train_step), []
    for _ in range(steps):
        model.reset_metrics()
        losses.append(float(train(episode)["loss"]))
    return losses


def random_episode(batch=2, shots=1, side=33, seed=0):
    rng = np.random.default_rng(seed)
    episode = {
        "support_image": rng.integers(0, 256, (batch, shots, side, side, 3)),
        "query_image": rng.integers(0, 256, (batch, side, side, 3)),
        "support_mask": rng.random((batch, shots, side, side)) > 0.7,
        "query_mask": rng.random((batch, side, side)) > 0.7,
    }
    return {key: tf.constant(value.astype(np.uint8)) for key, value in episode.items()}
