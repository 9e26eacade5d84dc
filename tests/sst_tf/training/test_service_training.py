# SPDX-License-Identifier: Apache-2.0
"""Training that reads its photos through tf.data service workers."""

import csv

import numpy as np
import pytest

from sst_tf import train
from tests.pipelines.remote.test_service import Workers
from tests.pipelines.tiny_voc import write_tiny_voc


def losses(root, folder, *options):
    train.main(["--run_dir", str(folder), "--skip_evaluation", "--data.dataset", "voc",
                "--data.root", str(root), "--data.novel_classes", "[cup]", "--data.image_size",
                "33", "--model.backbone", "small", "--model.weights", "none",
                "--model.train_backbone", "true", "--model.channels", "8", "--train.epochs", "1",
                "--train.steps_per_epoch", "6", "--train.batch", "4", "--train.augment", "canet",
                "--train.validation_episodes", "4", "--train.novel_episodes", "0", *options])
    with open(folder / "history.csv", encoding="utf-8") as file:
        return float(next(csv.DictReader(file))["loss"])


@pytest.mark.slow
def test_two_workers_feed_one_trainer(tmp_path):
    root = write_tiny_voc(tmp_path / "tiny")
    local = losses(root, tmp_path / "local")
    workers = Workers(root, 2)
    try:
        remote = losses(root, tmp_path / "remote", "--train.service", workers.address)
    finally:
        workers.stop()
    # The same episodes in the workers' order.
    np.testing.assert_allclose(remote, local, rtol=0.1)
