"""Training shared among devices: the same weights as one device with the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# Devices can be split only before TensorFlow has started: a process of its own.
SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sst_tf import train
train.main(sys.argv[1:])
"""


def weights(folder, strategy, optimizer):
    arguments = ["--run_dir", str(folder), "--skip_evaluation", "--model.backbone", "small",
                 "--model.weights", "none", "--model.train_backbone", "true", "--model.channels",
                 "8", "--data.image_size", "33", "--data.count", "200", "--train.epochs", "2",
                 "--train.steps_per_epoch", "5", "--train.batch", "4",
                 "--train.validation_episodes", "6", "--train.novel_episodes", "0",
                 "--pretrain.steps", "4", "--train.strategy", strategy, *optimizer]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "last.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name != "state"}


@pytest.mark.parametrize("optimizer", [
    ["--optimizer.name", "sgd", "--optimizer.learning_rate", "0.05", "--optimizer.weight_decay",
     "0.01", "--optimizer.clip_norm", "0.05"],
    ["--optimizer.name", "adam", "--optimizer.learning_rate", "0.001",
     "--optimizer.weight_decay", "0.0"],
], ids=["sgd with decay and clipping", "adam"])
def test_two_devices_train_as_one(tmp_path, optimizer):
    one = weights(tmp_path / "one", "none", optimizer)
    two = weights(tmp_path / "two", "mirrored", optimizer)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=2e-5, err_msg=name)
