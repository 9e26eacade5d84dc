# SPDX-License-Identifier: Apache-2.0
"""Naming base classes: what counts as a label, what changes, what is never read."""

import numpy as np
import pytest

from pipelines import photo_dataset
from pipelines.errors import UserError
from sst_tf.config import Config, parse, parser
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.run_data import open_data
from sst_tf.runs.factory import build_model
from sst_tf.training.pretrain import classification_loss, labels, pretrain

TINY = ["--model.backbone", "small", "--model.weights", "none", "--model.channels", "16",
        "--data.image_size", "49", "--data.count", "120", "--pretrain.steps", "60",
        "--pretrain.batch", "8", "--train.seed", "3"]


def open_tiny(*extra):
    config, _ = parse(parser(), [*TINY, "--model.train_backbone", "true", *extra], None)
    # A small backbone without weights stays as it was drawn: nobody else may ask for that.
    config.model.train_backbone = "--model.train_backbone" in extra
    return config, open_data(config), build_model(config)


def test_labels_are_the_masks_at_the_grids_points():
    mask = np.zeros((1, 17, 17), np.uint8)
    mask[0, :9, :9], mask[0, 16, 16], mask[0, 0, 16] = 3, 255, 7
    np.testing.assert_array_equal(labels(mask, (7,), "keep")[0],
                                  [[3, 3, 0], [3, 3, 0], [0, 0, 255]])
    np.testing.assert_array_equal(labels(mask, (7,), "ignore255")[0],
                                  [[3, 3, 255], [3, 3, 0], [0, 0, 255]])


@pytest.mark.parametrize("side", [16, 20, 24, 33, 257])
def test_the_last_cell_lies_on_the_last_pixel_whatever_the_side(side):
    mask = np.broadcast_to(np.linspace(0, 250, side).astype(np.uint8), (1, side, side))
    found = labels(mask, (), "keep")[0].numpy()
    cells = -(-side // 8)
    assert found.shape == (cells, cells)
    # Columns of a ramp tell where they were taken: within half a pixel of the aligned points.
    np.testing.assert_allclose(found[0], np.linspace(0, 250, cells), atol=125 / (side - 1) + 1)
    assert found[0, 0] == 0 and found[0, -1] == 250


def test_cells_of_255_do_not_count():
    logits = np.zeros((1, 1, 3, 4), np.float32)
    logits[0, 0, 0, 1] = 2.0
    target = np.array([[[1, 255, 255]]], np.int32)
    expected = np.log(np.exp(2) + 3) - 2
    assert float(classification_loss(logits, target)) == pytest.approx(expected, rel=1e-6)
    assert float(classification_loss(logits, np.full((1, 1, 3), 255, np.int32))) == 0.0


def test_the_encoder_learns_and_the_head_stays():
    config, data, model = open_tiny("--model.train_backbone", "true")
    before = [v.numpy() for v in model.weights]
    ours = {id(v) for v in model.encoder.weights}
    losses = pretrain(model, config, data)
    assert len(losses) == 60 and losses[-15:].mean() < 0.7 * losses[:15].mean()
    for variable, was in zip(model.weights, before, strict=True):
        same = np.array_equal(variable.numpy(), was)
        assert same == (id(variable) not in ours), variable.path
    config, data, model = open_tiny("--model.train_backbone", "true")
    np.testing.assert_allclose(pretrain(model, config, data)[:20], losses[:20], rtol=1e-3)


def test_only_training_photos_are_read(monkeypatch):
    config, data, model = open_tiny("--model.train_backbone", "true", "--pretrain.steps", "12")
    read = set()
    original = data.source.read_mask
    monkeypatch.setattr(data.source, "read_mask", lambda n: read.add(n) or original(n))
    pretrain(model, config, data)
    assert read <= {p.image_id for p in data.train}
    assert not read & {p.image_id for p in data.validation + data.novel}


def test_cached_features_give_the_same_steps(tmp_path):
    config, data, model = open_tiny("--pretrain.steps", "6")
    store = FeatureStore(model.encoder, data.source, 49, tmp_path)
    names = sorted({p.image_id for p in data.train})
    store.ensure(names)
    store.ensure(names, flipped=True)
    backbone = [v.numpy() for v in model.encoder.backbone.weights]
    cached = pretrain(model, config, data, store)
    for variable, was in zip(model.encoder.backbone.weights, backbone, strict=True):
        np.testing.assert_array_equal(variable.numpy(), was)
    config, data, model = open_tiny("--pretrain.steps", "6")
    np.testing.assert_allclose(pretrain(model, config, data), cached, rtol=1e-4)


def test_flipped_photos_are_mirrored_with_their_masks():
    _, data, _ = open_tiny()
    name = data.train[0].image_id
    plain, flipped = photo_dataset(data.source, [name, name], 49, masks=True,
                                   flipped=[False, True])
    for key in ("image", "mask"):
        np.testing.assert_array_equal(plain[key].numpy()[:, ::-1], flipped[key].numpy())


def test_a_loss_that_is_not_finite_is_an_error():
    config, data, model = open_tiny("--model.train_backbone", "true", "--pretrain.learning_rate",
                                    "3e38")
    with pytest.raises(UserError, match="pretrain.learning_rate"):
        pretrain(model, config, data)


def test_off_by_default():
    assert Config().pretrain.steps == 0
