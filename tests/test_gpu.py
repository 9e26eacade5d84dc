# SPDX-License-Identifier: Apache-2.0
"""On a GPU: the training step and exports give what the CPU gives (TF32 off: `make gpu-check`)."""

import numpy as np
import pytest
import tensorflow as tf

from export import replay, saving
from export.standin.runtime import SavedModel
from export.trained import Trained
from sst_tf.model.segmenter import SSTSegmenter

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu():
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("no GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)


def losses_after(device, steps):
    """The model's losses along a few training steps, from the same weights and episode."""
    import keras
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 2, 65, 65, 3)).astype(np.uint8)
    mask = np.zeros((2, 65, 65), np.uint8)
    mask[:, 20:40, 20:50] = 1
    episode = {"support_image": photos[:, :1], "support_mask": mask[:, None],
               "query_image": photos[:, 1], "query_mask": mask}
    with tf.device(device):
        keras.utils.set_random_seed(0)
        model = SSTSegmenter(
            model={"backbone": "small", "channels": 16, "dropout": 0.0, "train_backbone": True,
                   "comparator": "product"}, tuner={"step_size": 0.1, "normalize": "relative"},
            loss={"auxiliary": 1.0, "balanced": True})
        model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
        step = tf.function(model.train_step)
        return [float(step(episode)["loss"]) for _ in range(steps)]


def test_training_steps_are_the_cpu_s():
    np.testing.assert_allclose(losses_after("/gpu:0", 5), losses_after("/cpu:0", 5), rtol=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from sst_tf.config import DataConfig
    from tests.export.conftest import make_run
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=500))
    return Trained.load(run.folder, shots=2)


def test_exports_answer_as_on_the_cpu(trained, tmp_path):
    folder, _ = saving.export(trained, tmp_path, warm=False)
    batch = next(trained.batches(*trained.episodes(2, seed=7), batch=2))
    with tf.device("/cpu:0"):
        due = replay.expected(trained, batch)
    answer = SavedModel(folder).run("segment", batch)
    assert replay.largest_difference(answer, due)["probability"] < 1e-4
