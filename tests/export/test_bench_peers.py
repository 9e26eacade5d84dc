# SPDX-License-Identifier: Apache-2.0
"""The race against PyTorch: both sides compute the same, and its ratios say what they mean."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export.bench_peers import ours, race, table
from export.bench_peers.options import Options
from pipelines.errors import UserError
from pipelines.sealed import read_sealed
from sst_tf.config import Config, DataConfig, ModelConfig
from sst_tf.runs.factory import build_model
from tests.export.conftest import make_run

SIZE = 65


@pytest.fixture(scope="module")
def episode():
    """Noise, with ignored pixels."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 2, SIZE, SIZE, 3), np.uint8)
    masks = np.zeros((2, 2, SIZE, SIZE), np.uint8)
    masks[:, :, 10:40, 20:50], masks[:, :, :, :5] = 1, 255
    return {"support_image": photos[0][:, None], "support_mask": masks[0][:, None],
            "query_image": photos[1], "query_mask": masks[1, :, ::-1].copy()}


@pytest.fixture(scope="module")
def sides(episode):
    """(our model, PyTorch's of the same weights, the episode)."""
    pytest.importorskip("torch", reason="PyTorch comes with the extra peers")
    from export.bench_peers.torch_model import Segmenter

    model = build_model(Config(data=DataConfig(image_size=SIZE), model=ModelConfig(
        backbone="resnet18", weights="none", channels=16)))
    for variable in model.head.trainable_variables:
        if variable.path.endswith("classify/kernel"):  # starts small; here it should matter
            variable.assign(variable * 30)
    weights = {variable.path: variable.numpy() for variable in model.weights}
    return model, Segmenter(16).load(weights), episode


def tensors(episode):
    import torch

    return [torch.from_numpy(episode["support_image"][:, 0]).permute(0, 3, 1, 2),
            torch.from_numpy(episode["support_mask"][:, 0]),
            torch.from_numpy(episode["query_image"]).permute(0, 3, 1, 2),
            torch.from_numpy(episode["query_mask"])]


def test_tuned_answers_are_ours(sides):
    import torch

    model, other, episode = sides
    answer = model({name: tf.constant(value) for name, value in episode.items()})
    with torch.no_grad():
        probability, _ = other.segment(*tensors(episode)[:3])
        other.steps = 0
        untuned, _ = other.segment(*tensors(episode)[:3])
        other.steps = 1
    ours = tf.sigmoid(answer.logit).numpy()
    assert np.ptp(ours) > 0.01
    assert np.abs(probability.numpy() - ours).max() < 1e-3
    assert np.abs(untuned.numpy() - ours).max() > np.abs(probability.numpy() - ours).max()


def test_training_takes_our_gradients(sides):
    """Through the inner step, to second order."""
    model, other, episode = sides
    with tf.GradientTape() as tape:
        main, auxiliary, _ = model.losses_of(
            {name: tf.constant(value) for name, value in episode.items()}, training=True)
        total = tf.reduce_mean(main + auxiliary)
    gradients = tape.gradient(total, model.trainable_variables)
    loss = other.loss(*tensors(episode))
    loss.backward()
    assert abs(float(total) - loss.item()) < 1e-4
    for variable, expected in zip(model.trainable_variables, gradients, strict=True):
        name, kind = variable.path.split("/")
        layer = other.conv.layers[name]
        found = (layer.weight.grad.permute(2, 3, 1, 0) if kind == "kernel" else layer.bias.grad)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-2 * scale, err_msg=name)


def test_a_weight_without_a_place_is_told(sides):
    _, other, _ = sides
    weights = {f"{name}/{kind}": np.zeros((1, 1, 1, 1)[:4 if kind == "kernel" else 1], np.float32)
               for layers in (other.backbone.conv.layers, other.conv.layers) for name in layers
               for kind in ("kernel", "bias")}
    from export.bench_peers.torch_model import Segmenter

    with pytest.raises(ValueError, match="without a place: raw_step"):
        Segmenter(16).load({**weights, "raw_step": np.zeros(())})


def contestants(*answers):
    return tuple(race.Contestant(str(i), "tests.export.toy_contestant:ready", i == 0, (answer,))
                 for i, answer in enumerate(answers))


def test_turns_are_timed_and_failures_are_told(tmp_path):
    one = race.Race("toy", "ms", contestants(1.0, 1.0, None), tolerance=0.1)
    found = race.run(one, tmp_path, Options(), rounds=2)
    assert found == {"seconds": {"0": [0.5, 0.5], "1": [0.5, 0.5]},
                     "failed": {"2": "no compiler here"}, "difference": 0.0}
    json.dumps(found)


def test_one_of_ours_must_start(tmp_path):
    with pytest.raises(UserError, match=r"toy: 0 cannot start \(no compiler here\)"):
        race.run(race.Race("toy", "ms", contestants(None, 1.0)), tmp_path, Options(), rounds=1)


def test_our_training_step_is_timed(episode, tmp_path):
    make_run(tmp_path / "run", DataConfig(image_size=SIZE, count=60))
    np.savez(tmp_path / "episode.npz", **episode)
    measure, loss = ours.training(tmp_path, Options(), "image")
    assert np.isfinite(loss) and measure() > 0


def test_other_answers_end_the_race(tmp_path):
    with pytest.raises(UserError, match="answers differ by 1.0e"):
        race.run(race.Race("toy", "ms", contestants(1.0, 2.0), tolerance=0.1), tmp_path,
                 Options(), rounds=1)


@pytest.mark.parametrize("mine, theirs, word", [
    ([1, 1, 1], [2, 2, 2], "ahead: they take 100 % longer"),
    ([2, 2, 2], [1, 1, 1], "behind: we take 100 % longer"),
    ([1, 2, 1], [2, 1, 1], "level")])
def test_the_verdict(mine, theirs, word):
    assert table.verdict(*table.ratio(mine, theirs)) == word


def test_the_page_shows_the_kept_results():
    docs = Path(__file__).parents[2] / "docs"
    if not (docs / "results" / "bench" / "peers.json").is_file():
        pytest.skip("no results are kept yet: make bench-peers")
    kept = read_sealed(docs / "results" / "bench" / "peers.json", "measure again")
    assert table.markdown(kept) in (docs / "performance.md").read_text(encoding="utf-8")
