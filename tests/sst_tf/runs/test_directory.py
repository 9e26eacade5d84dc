# SPDX-License-Identifier: Apache-2.0
"""A run directory: what cannot be gone on with says so."""

import keras
import numpy as np
import pytest

from pipelines.errors import UserError
from sst_tf.config import DataConfig
from sst_tf.runs import Run
from tests.export.conftest import make_run
from tests.sst_tf.conftest import build


def test_weights_of_an_earlier_layout_are_not_gone_on_with(tmp_path):
    run, model = Run(tmp_path), build()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    run.save_last(model, {"epoch": 1})
    assert run.restore_last(built_again()) == {"epoch": 1}
    with np.load(run.last_path) as arrays:
        arrays = dict(arrays)
    place = next(i for i, v in enumerate(model.weights)
                 if v is model.head.decoder.classify.kernel)
    arrays[f"weight_{place}"] = np.zeros((1, 1, 8, 2), np.float32)  # two logits
    np.savez(run.last_path, **arrays)
    with pytest.raises(UserError, match=r"\[1, 1, 8, 2\], expected \[1, 1, 8, 1\].*--run_dir"):
        run.restore_last(built_again())


def test_random_draws_go_on_where_they_were(tmp_path):
    run, model = Run(tmp_path), built_again(method="canet")
    model.optimizer.build(model.trainable_variables)

    def drawn(one):
        return keras.random.uniform((3,), seed=one.head.random).numpy()

    drawn(model)
    run.save_last(model, {"epoch": 1})
    other = built_again(method="canet")
    assert run.restore_last(other) == {"epoch": 1}
    expected = drawn(model)
    np.testing.assert_array_equal(drawn(other), expected)
    assert (drawn(built_again(method="canet")) != expected).all()


def test_dropped_features_are_drawn_by_what_is_kept():
    model = build(feature_dropout=0.5)
    state = model.random.state.numpy()
    left = model._channels_left(np.zeros((2, 3, 3, 40), np.float32)).numpy()
    assert set(np.unique(left)) == {0, 2} and (model.random.state.numpy() != state).any()


def test_a_model_is_known_by_the_file_that_it_was_read_from(tmp_path):
    """A training may replace the file while its model is scored."""
    run = make_run(tmp_path, DataConfig(image_size=33, count=120))
    run.model()
    scored = run.model_sha256()
    changed = Run(tmp_path).model()
    changed.head.decoder.classify.kernel.assign_add(changed.head.decoder.classify.kernel)
    Run(tmp_path).save_model(changed)
    assert run.model_sha256() == scored != Run(tmp_path).model_sha256()
    assert run.replaced({"model_sha256": scored}) and run.replaced({})
    assert not run.replaced({"model_sha256": Run(tmp_path).model_sha256()})


def built_again(**options):
    again = build(**options)
    again.compile(optimizer=keras.optimizers.SGD(0.1))
    return again
