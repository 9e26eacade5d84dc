# SPDX-License-Identifier: Apache-2.0
"""Products in bfloat16, of a call and not of a function."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sst_tf.runs import provenance
from sst_tf.training.precision import REWRITING, products
from tests.sst_tf.conftest import build, random_episode


def test_a_function_computes_in_float32_again_outside():
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 16, 16)), tf.float32)
    images = tf.constant(np.random.default_rng(1).normal(size=(2, 12, 12, 16)), tf.float32)

    @tf.function
    def convolve(x):
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))

    before = convolve(images).numpy()
    with products("bfloat16"):
        inside = convolve(images).numpy()
        with products("float32"):
            nested = convolve(images).numpy()
    np.testing.assert_array_equal(before, nested)
    np.testing.assert_array_equal(before, convolve(images).numpy())
    np.testing.assert_allclose(inside, before, atol=0.2)
    if provenance.has_bfloat16():
        assert np.abs(inside - before).max() > 1e-4  # it did something
    else:
        np.testing.assert_array_equal(inside, before)


def test_a_processor_without_bfloat16_is_told(tmp_path, monkeypatch, capsys):
    flags = tmp_path / "cpuinfo"
    flags.write_text("flags\t\t: sse4_2 fma avx2\n")
    monkeypatch.setattr(provenance, "FLAGS", flags)
    with products("bfloat16"):
        assert not tf.config.optimizer.get_experimental_options().get(REWRITING, False)
    assert "stay in float32" in capsys.readouterr().out
    assert provenance.environment()["bfloat16"] is False
    flags.write_text("flags\t\t: sse4_2 fma avx2 avx512f avx512_bf16\n")
    assert provenance.has_bfloat16()


@pytest.mark.skipif(not provenance.has_bfloat16(), reason="this processor has no bfloat16")
def test_what_is_told_of_an_epoch_is_summed_in_float32():
    """A running sum in bfloat16 loses more with every step: parts would not add up to the loss."""
    model, episode = build(), random_episode(batch=4)
    model.compile(optimizer=keras.optimizers.SGD(1e-3))
    with products("bfloat16"):
        step = tf.function(model.train_step)
        for _ in range(60):
            logs = {name: float(value) for name, value in step(episode).items()}
    parts = logs["main"] + model.auxiliary * logs["auxiliary"]
    assert logs["loss"] == pytest.approx(parts, abs=1e-3)  # one step's rounding
