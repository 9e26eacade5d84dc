# SPDX-License-Identifier: Apache-2.0
"""Training shared among devices: the same weights as one device with the whole batch."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from sst_tf.training import distribute

ROOT = Path(__file__).parents[3]
# Devices can be split only before TensorFlow has started: a process of its own.
SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sst_tf import train
train.main(sys.argv[1:])
"""


def arguments(folder, strategy):
    """Ten steps on the embedded data set."""
    return ["--run_dir", str(folder), "--skip_evaluation", "--model.backbone", "small",
            "--model.weights", "none", "--model.train_backbone", "true", "--model.channels",
            "8", "--data.image_size", "33", "--data.count", "200", "--train.epochs", "2",
            "--train.steps_per_epoch", "5", "--train.batch", "4",
            "--train.validation_episodes", "6", "--train.novel_episodes", "0",
            "--pretrain.steps", "4", "--train.strategy", strategy]


def weights(folder, strategy, optimizer):
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments(folder, strategy), *optimizer],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return last(folder)


def last(folder):
    """Weights and optimizer state of a run's last epoch."""
    with np.load(folder / "last.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name != "state"}


@pytest.mark.parametrize("optimizer", [
    pytest.param(["--optimizer.name", "sgd", "--optimizer.learning_rate", "0.05",
                  "--optimizer.weight_decay", "0.01", "--optimizer.clip_norm", "0.05"],
                 id="sgd with decay and clipping"),
    pytest.param(["--optimizer.name", "adam", "--optimizer.learning_rate", "0.001",
                  "--optimizer.weight_decay", "0.0"], id="adam", marks=pytest.mark.slow),
    # The rows that each device draws for, in every place where training draws.
    pytest.param(["--model.method", "canet", "--tuner.steps", "0", "--model.dropout", "0.5",
                  "--model.feature_dropout", "0.5", "--optimizer.name", "sgd",
                  "--optimizer.learning_rate", "0.05"], id="sgd with random parts")])
def test_two_devices_train_as_one(tmp_path, optimizer):
    one = weights(tmp_path / "one", "none", optimizer)
    two = weights(tmp_path / "two", "mirrored", optimizer)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=2e-5, err_msg=name)


def worker(index, ports, folder, strategy="multi_worker"):
    """A process that trains as one of several, or alone."""
    cluster = {"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
               "task": {"type": "worker", "index": index}}
    environment = os.environ | ({"TF_CONFIG": json.dumps(cluster)} if ports else {})
    return subprocess.Popen(
        [sys.executable, "-m", "sst_tf.train", *arguments(folder, strategy), "--optimizer.name",
         "sgd", "--optimizer.learning_rate", "0.05", "--optimizer.clip_norm", "0.05",
         "--train.epochs", "5", "--train.steps_per_epoch", "2", "--resume"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*processes):
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, (output + errors)[-3000:]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.mark.slow  # five starts of TensorFlow
def test_two_workers_train_as_one_also_after_a_kill(tmp_path):
    finish(worker(0, [], tmp_path / "one", "none"))
    ports, folder = free_ports(2), tmp_path / "two"
    started = [worker(i, ports, folder) for i in range(2)]
    while not (folder / "last.npz").exists():
        assert all(process.poll() is None for process in started)
        time.sleep(0.05)
    for process in started:
        process.kill()
        process.communicate()
    assert 2 <= len((folder / "history.csv").read_text().splitlines()) < 6
    ports = free_ports(2)
    finish(*(worker(i, ports, folder) for i in range(2)))
    one, two = last(tmp_path / "one"), last(folder)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=2e-5, err_msg=name)


def test_workers_without_addresses_are_told_the_form(tmp_path):
    lone = worker(0, [], tmp_path / "run")
    _, errors = lone.communicate(timeout=120)
    assert lone.returncode == 2 and "TF_CONFIG" in errors.splitlines()[-1]


WORKERS = {"worker": ["one:2222", "[::1]:2222"]}


@pytest.mark.parametrize("text, told", [
    ("{", "no JSON"), ("[]", "cluster.worker, a list"), ("{}", "cluster.worker, a list"),
    (json.dumps({"task": {"type": "worker", "index": 0}}), "cluster.worker, a list"),
    (json.dumps({"cluster": {"worker": "one:2222"}}), "cluster.worker, a list"),
    (json.dumps({"cluster": {"worker": []}}), "cluster.worker, a list"),
    (json.dumps({"cluster": {"worker": ["one:abc"]}}), "'one:abc' is no host:port"),
    (json.dumps({"cluster": {"worker": ["one:70000"]}}), "'one:70000' is no host:port"),
    (json.dumps({"cluster": {"worker": ["one"]}}), "'one' is no host:port"),
    (json.dumps({"cluster": {"worker": [2222]}}), "2222 is no host:port"),
    (json.dumps({"cluster": WORKERS}), "task.type: None"),
    (json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}), "task.type: 'chief'"),
    (json.dumps({"cluster": WORKERS, "task": {"type": "worker"}}), "task.index: None"),
    (json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}), "task.index: 2"),
    (json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": "0"}}), "task.index: '0'"),
])
def test_a_cluster_in_which_each_would_train_alone_is_refused(text, told, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: pytest.fail("opened"))
    with pytest.raises(UserError) as refused:
        distribute.open_strategy("multi_worker")
    line = str(refused.value)
    assert line.startswith("TF_CONFIG: ") and told in line and "\n" not in line
    assert line.endswith(f"the form is {distribute.EXAMPLE}")


def test_what_tensorflow_cannot_open_is_one_line(monkeypatch):
    def fails():
        raise tf.errors.UnknownError(None, None, "Could not start\ngRPC server")

    monkeypatch.setenv("TF_CONFIG", json.dumps(
        {"cluster": WORKERS, "task": {"type": "worker", "index": 1}}))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", fails)
    with pytest.raises(UserError, match="^TF_CONFIG: Could not start gRPC server; the form is "):
        distribute.open_strategy("multi_worker")
